"""Rotations, interrupted at every point."""

from __future__ import annotations

import pytest
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

    def __init__(self, keeps_warm: bool = False) -> None:
        self.state = State(keeps_warm=keeps_warm)
        self.actions: list[Action] = []

    def happen(self, *events: Event) -> list[Action]:
        """What the last of the events leads to."""
        actions: tuple[Action, ...] = ()
        for event in events:
            self.state, actions = step(self.state, event)
            self.actions += actions
        return list(actions)


def serving(keeps_warm: bool = False) -> Table:
    table = Table(keeps_warm)
    table.happen(Asked(FIRST), Ready(1), Activated(1))
    return table


def standing_by() -> Table:
    """Group 1 serves, group 2 stands by."""
    table = serving(keeps_warm=True)
    assert table.actions[-2:] == [Finish(1), Form(2, "b", FIRST)]
    assert not table.state.can_rotate, "it is not ready yet"
    assert table.happen(Ready(2)) == [KeepSpares("a"), KeepSpares("b")], "should both end with their scheduler"
    assert table.state.standby is not None and table.state.can_rotate
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


@pytest.mark.parametrize(("first", "slot", "other"), [(1, "a", "b"), (2, "b", "a")])
def test_where_a_group_stood_by_the_next_is_formed_in_the_slot_that_is_free_first(first, slot, other) -> None:
    table = standing_by()
    assert table.happen(SchedulerLost("killed")) == [], "both slots have a group"
    assert table.happen(Gone(first)) == [Form(3, slot, FIRST)]
    assert table.happen(Gone(3 - first)) == [], "nobody serves yet"
    assert table.happen(Ready(3), Activated(3))[-1] == Form(4, other, FIRST)


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


def test_a_group_that_stands_by_takes_over_at_once() -> None:
    table = standing_by()
    assert table.happen(Lost(1, "It died.")) == [Kill(1, "a"), Activate(2)]
    assert table.happen(Activated(2)) == []
    assert table.happen(Gone(1)) == [Form(3, "a", FIRST)], "another stands by"


def test_a_rotation_goes_to_the_group_that_stands_by() -> None:
    table = standing_by()
    assert table.happen(Asked(FIRST)) == [Activate(2)]
    assert table.happen(Activated(2)) == [Finish(2)]
    assert table.happen(Idle(1), Gone(1)) == [Form(3, "a", FIRST)]


def test_a_group_that_stands_by_takes_the_split_first() -> None:
    table = standing_by()
    assert table.happen(Asked(SECOND)) == [Change(2, 1, SECOND)]
    assert table.happen(Changed(2, 1)) == [Activate(2)]
    assert table.happen(Changed(2, 1, "It was not taken in time.")) == [], "it was answered"
    assert table.happen(Activated(2)) == [Finish(2)]
    assert table.state.in_force == SECOND


def test_one_that_cannot_take_the_split_makes_room_for_one_that_has_it() -> None:
    table = standing_by()
    table.happen(Asked(SECOND))
    assert table.happen(Changed(2, 1, "It is not prepared.")) == [Retire(2)]
    assert not table.state.can_rotate
    assert table.happen(Gone(2)) == [Form(3, "b", SECOND)]
    table.happen(Ready(3), Activated(3))
    assert table.actions[-1] == Finish(3)
    assert table.state.in_force == SECOND


def test_one_that_cannot_take_the_split_serves_all_the_same_where_nobody_else_does() -> None:
    table = standing_by()
    table.happen(Asked(SECOND), Lost(1, "It died."))
    assert table.happen(Changed(2, 1, "It is not prepared.")) == [Finish(2, "It is not prepared."), Activate(2)]
    assert table.happen(Activated(2)) == []
    assert table.state.in_force == FIRST
    assert table.happen(Gone(1)) == [Form(3, "a", FIRST)]


def test_a_rotation_that_waits_for_the_slot_ends_with_the_group_that_serves() -> None:
    table = standing_by()
    table.happen(Asked(SECOND), Changed(2, 1, "It is not prepared."))
    assert table.happen(Lost(1, "It died.")) == [Finish(1, "It died."), Kill(1, "a")]
    assert table.happen(Gone(2)) == [Form(3, "b", FIRST)]


def test_a_group_that_stands_by_follows_the_split_in_force() -> None:
    table = standing_by()
    table.happen(Asked(SECOND, new_group=False))
    assert table.happen(Changed(1, 1)) == [Finish(1), Change(2, 2, SECOND)]
    assert not table.state.can_rotate, "until it has answered"
    assert table.happen(Changed(2, 2)) == []
    assert table.state.can_rotate
    assert table.happen(Lost(1, "It died.")) == [Kill(1, "a"), Activate(2)]
    assert table.state.in_force == SECOND


def test_one_that_cannot_follow_is_replaced() -> None:
    table = standing_by()
    table.happen(Asked(SECOND, new_group=False), Changed(1, 1))
    assert table.happen(Changed(2, 2, "It is not prepared.")) == [Retire(2)]
    assert table.happen(Gone(2)) == [Form(3, "b", SECOND)]


def test_what_cannot_be_taken_in_place_is_taken_by_the_group_that_stands_by() -> None:
    table = standing_by()
    table.happen(Asked(SECOND, new_group=False))
    assert table.happen(Changed(1, 1, "It is not prepared.")) == [Change(2, 2, SECOND)]
    assert table.state.rotating_to == 2


def test_a_group_that_stands_by_and_ends_is_replaced_and_after_three_spares_are_kept() -> None:
    table = standing_by()
    assert table.happen(Lost(2, "It died.")) == [Kill(2, "b")]
    assert table.happen(Gone(2)) == [Form(3, "b", FIRST)]
    table.happen(TimedOut(3, 60.0), Gone(3), Ready(4), Lost(4, "It died."))
    assert table.happen(Gone(4)) == [KeepSpares("b")]
    table.happen(Asked(SECOND), Ready(5), Activated(5), Idle(1))
    assert table.happen(Gone(1)) == [Form(6, "a", SECOND)], "a group that serves begins the count anew"


def test_where_there_is_no_room_for_one_spares_are_kept() -> None:
    table = serving(keeps_warm=True)
    assert table.happen(Gone(2, "There is no memory for it."))[-1] == KeepSpares("b")


class AnyInterruption(RuleBasedStateMachine):
    """Events in any order, as processes that may die at any time would cause them."""

    keeps_warm = False

    def __init__(self) -> None:
        super().__init__()
        self.table = serving(self.keeps_warm)
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

    @precondition(lambda self: self.table.state.changing is not None)
    @rule(problem=st.sampled_from(["", "no"]))
    def the_change_is_answered(self, problem: str) -> None:
        state = self.table.state
        assert state.changing is not None
        self.happen(Changed(state.changing, state.changes, problem))

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

    @precondition(lambda self: self.table.state.standby is not None)
    @rule(event=st.sampled_from([Lost, Gone]))
    def the_group_that_stands_by_ends(self, event: type[Lost] | type[Gone]) -> None:
        standby = self.table.state.standby
        assert standby is not None
        self.happen(event(standby.epoch, "died"))

    @invariant()
    def every_rotation_is_answered_once(self) -> None:
        answers = [action.epoch for action in self.table.actions if isinstance(action, Finish)]
        state = self.table.state
        assert len(answers) == self.asked - state.is_under_way

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


class AnyInterruptionWhileAGroupStandsBy(AnyInterruption):
    keeps_warm = True


TestAnyInterruption = AnyInterruption.TestCase
TestAnyInterruptionWhileAGroupStandsBy = AnyInterruptionWhileAGroupStandsBy.TestCase
for case in (TestAnyInterruption, TestAnyInterruptionWhileAGroupStandsBy):
    case.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
