"""Rotations, interrupted at every point."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.rotation.events import (
    Action,
    Activate,
    Activated,
    Asked,
    Change,
    Changed,
    Event,
    Finish,
    Form,
    GiveUp,
    Gone,
    Idle,
    KeepSpares,
    Kill,
    Lost,
    Ready,
    Retire,
    SchedulerLost,
    Stopping,
    TimedOut,
)
from appliance.rotation.state import Stage, State
from appliance.rotation.table import MAX_TAKEOVERS, step
from engine.allocation import SMAllocation

FIRST, SECOND = SMAllocation(70, 30), SMAllocation(40, 60)


class Table:
    """A state and everything it asked for."""

    def __init__(self) -> None:
        self.state = State()
        self.actions: list[Action] = []

    def happen(self, *events: Event) -> list[Action]:
        """What the last of the events leads to."""
        actions: tuple[Action, ...] = ()
        for event in events:
            self.state, actions = step(self.state, event)
            self.actions += actions
        return list(actions)


def serving() -> Table:
    table = Table()
    table.happen(Asked(FIRST), Ready(1), Activated(1))
    return table


def test_the_first_group_comes_to_serve_and_the_other_slot_keeps_spares() -> None:
    table = serving()
    assert table.actions == [Form(1, "a", FIRST), Activate(1), Finish(1), KeepSpares("b")]
    assert table.state.active is not None
    assert table.state.in_force == FIRST


def test_a_rotation_ends_with_the_old_group_gone() -> None:
    table = serving()
    assert table.happen(Asked(SECOND)) == [Form(2, "b", SECOND)]
    assert table.happen(Ready(2)) == [Activate(2)]
    assert table.happen(Activated(2)) == [Finish(2)]
    assert not table.state.can_rotate, "the slot of the old group is not free yet"
    assert table.happen(Idle(1)) == [Retire(1)]
    assert table.happen(Gone(1)) == [KeepSpares("a")]
    assert [group.epoch for group in table.state.groups] == [2]
    assert table.state.can_rotate


def test_a_group_that_does_not_start_changes_nothing() -> None:
    for event in (Gone(2, "Worker process 7 exited with code 1."), Lost(2, "It died."), TimedOut(2, 30.0)):
        table = serving()
        table.happen(Asked(SECOND))
        actions = table.happen(event)
        (finish,) = [action for action in actions if isinstance(action, Finish)]
        assert finish.problem
        assert table.state.active is not None
        assert table.state.active.epoch == 1
        table.happen(Gone(2))
        assert table.state.can_rotate


def test_a_new_group_lost_while_it_takes_over_gives_way_to_the_old_one() -> None:
    table = serving()
    table.happen(Asked(SECOND), Ready(2), Activated(2))
    assert table.happen(Lost(2, "It died.")) == [Kill(2, "b"), Activate(1)]
    table.happen(Activated(1))
    assert table.state.active is not None
    assert table.state.active.epoch == 1
    assert table.state.in_force == FIRST


def test_a_lost_group_is_replaced_in_the_other_slot_at_the_same_split() -> None:
    table = serving()
    assert table.happen(Lost(1, "It died.")) == [Kill(1, "a"), Form(2, "b", FIRST)]
    assert table.happen(Ready(2)) == [Activate(2)]
    table.happen(Activated(2), Gone(1))
    assert table.actions[-1] == KeepSpares("a")


def test_a_group_lost_while_another_starts_waits_for_that_one() -> None:
    table = serving()
    table.happen(Asked(SECOND))
    assert table.happen(Lost(1, "It died.")) == [Kill(1, "a")]
    table.happen(Gone(1), Ready(2), Activated(2))
    assert table.state.in_force == SECOND


def test_it_gives_up_after_groups_that_never_serve() -> None:
    table = serving()
    epoch = 1
    for _ in range(MAX_TAKEOVERS + 1):
        table.happen(Lost(epoch, "It died."), Gone(epoch))
        epoch = table.state.latest_epoch
    assert GiveUp("It died.") in table.actions or any(isinstance(action, GiveUp) for action in table.actions)
    assert table.state.groups == ()


def test_stopping_ends_a_rotation_with_a_sentence() -> None:
    table = serving()
    table.happen(Asked(SECOND))
    assert table.happen(Stopping()) == [Finish(2, "The appliance stops.")]
    assert table.happen(Lost(1, "It died.")) == [Kill(1, "a")]


def test_a_split_is_taken_in_place_by_the_group_that_serves() -> None:
    table = serving()
    assert table.happen(Asked(SECOND, new_group=False)) == [Change(1, 1, SECOND)]
    assert not table.state.can_rotate, "one thing at a time"
    assert table.state.in_force == FIRST, "it is not there yet"
    assert table.happen(Changed(1, 1)) == [Finish(1)]
    assert table.state.in_force == SECOND
    assert table.state.active is not None and table.state.active.allocation == SECOND
    assert table.state.can_rotate


def test_what_cannot_be_taken_in_place_is_rotated_to() -> None:
    table = serving()
    table.happen(Asked(SECOND, new_group=False))
    assert table.happen(Changed(1, 1, "It is not prepared.")) == [Form(2, "b", SECOND)]
    assert table.state.rotating_to == 2
    table.happen(Ready(2), Activated(2))
    assert table.actions[-1] == Finish(2)
    assert table.state.in_force == SECOND


def test_without_a_group_that_serves_there_is_nothing_to_change() -> None:
    table = Table()
    assert table.happen(Asked(FIRST, new_group=False)) == [Form(1, "a", FIRST)]


def test_an_answer_to_another_change_changes_nothing() -> None:
    table = serving()
    table.happen(Asked(SECOND, new_group=False), Changed(1, 1), Asked(FIRST, new_group=False))
    for late in (Changed(1, 1), Changed(1, 1, "It took too long."), Changed(2, 2)):
        assert table.happen(late) == []
    assert table.happen(Changed(1, 2)) == [Finish(1)]
    assert table.happen(Changed(1, 2, "It took too long.")) == []
    assert table.state.in_force == FIRST


def test_a_group_lost_while_it_changes_is_replaced_at_the_split_in_force() -> None:
    table = serving()
    table.happen(Asked(SECOND, new_group=False))
    assert table.happen(Lost(1, "It died.")) == [Finish(1, "It died."), Kill(1, "a"), Form(2, "b", FIRST)]
    assert table.happen(Changed(1, 1)) == []
    assert table.state.in_force == FIRST


def test_stopping_ends_a_change_with_a_sentence() -> None:
    table = serving()
    table.happen(Asked(SECOND, new_group=False))
    assert table.happen(Stopping()) == [Finish(1, "The appliance stops.")]
    assert table.happen(Changed(1, 1)) == []


def test_with_its_scheduler_every_group_ends_and_another_is_formed_at_the_split_in_force() -> None:
    table = serving()
    assert table.happen(SchedulerLost("killed")) == [Form(2, "b", FIRST)]
    assert [group.stage for group in table.state.groups] == [Stage.RETIRING, Stage.STARTING]
    assert table.happen(Gone(1)) == []
    assert table.happen(Ready(2)) == [Activate(2)]
    assert table.happen(Activated(2)) == [KeepSpares("a")]


def test_a_rotation_under_way_is_answered_and_its_starting_group_killed() -> None:
    table = serving()
    table.happen(Asked(SECOND))
    assert table.happen(SchedulerLost("killed")) == [Finish(2, "killed"), Kill(2, "b")]
    assert table.happen(Gone(2, "killed")) == [Form(3, "b", FIRST)], "no slot was free before"


def test_a_change_under_way_is_answered_when_the_scheduler_is_lost() -> None:
    table = serving()
    table.happen(Asked(SECOND, new_group=False))
    assert table.happen(SchedulerLost("killed")) == [Finish(1, "killed"), Form(2, "b", FIRST)]
    assert table.happen(Changed(1, 1)) == []


class AnyInterruption(RuleBasedStateMachine):
    """Events in any order, as processes that may die at any time would cause them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = serving()
        self.asked = 1
        self.gave_up = False

    def happen(self, event: Event) -> None:
        actions = self.table.happen(event)
        self.gave_up = self.gave_up or any(isinstance(action, GiveUp) for action in actions)

    @precondition(lambda self: self.table.state.can_rotate)
    @rule(share=st.integers(1, 99), new_group=st.booleans())
    def ask(self, share: int, new_group: bool) -> None:
        self.asked += 1
        self.happen(Asked(SMAllocation(share, 100 - share), new_group))

    @rule(late=st.integers(0, 2), problem=st.sampled_from(["", "no"]))
    def a_change_is_answered(self, late: int, problem: str) -> None:
        """Also one that was answered before, or whose group serves no more."""
        if self.table.state.latest_epoch:
            number = self.table.state.changes - late
            self.happen(Changed(self.table.state.latest_epoch - late, number, problem))

    @precondition(lambda self: self.table.state.changing_to is not None)
    @rule(problem=st.sampled_from(["", "no"]))
    def the_change_is_answered(self, problem: str) -> None:
        active = self.table.state.active
        assert active is not None
        self.happen(Changed(active.epoch, self.table.state.changes, problem))

    @precondition(lambda self: self.table.state.groups)
    @rule(data=st.data())
    def something_happens_to_a_group(self, data: st.DataObject) -> None:
        """Also what does not fit: messages cross on the way."""
        epoch = data.draw(st.integers(1, self.table.state.latest_epoch))
        event = data.draw(
            st.sampled_from(
                [
                    Ready(epoch),
                    Activated(epoch),
                    Activated(epoch, "no"),
                    Idle(epoch),
                    Lost(epoch, "died"),
                    Gone(epoch),
                    TimedOut(epoch, 1),
                ]
            )
        )
        self.happen(event)

    @rule()
    def the_scheduler_is_lost(self) -> None:
        self.happen(SchedulerLost("died"))
        assert self.table.state.active is None

    @invariant()
    def every_rotation_is_answered_once(self) -> None:
        answers = [action.epoch for action in self.table.actions if isinstance(action, Finish)]
        state = self.table.state
        assert len(answers) == self.asked - (state.rotating_to is not None) - (state.changing_to is not None)

    @invariant()
    def the_split_in_force_is_that_of_the_group_that_serves(self) -> None:
        active = self.table.state.active
        assert active is None or active.allocation == self.table.state.in_force

    @invariant()
    def somebody_serves_or_is_about_to(self) -> None:
        state = self.table.state
        assert (
            self.gave_up
            or state.first(Stage.ACTIVE, Stage.STARTING, Stage.READY)
            or state.free_slot is None  # both slots are being cleared
        )

    @invariant()
    def epochs_only_grow(self) -> None:
        epochs = [action.epoch for action in self.table.actions if isinstance(action, Form)]
        assert epochs == sorted(set(epochs))


TestAnyInterruption = AnyInterruption.TestCase
TestAnyInterruption.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
