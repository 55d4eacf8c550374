"""What a controller makes of groups that were there before it."""

from __future__ import annotations

import pytest

from appliance.rotation.events import Asked, Gone, Idle, KeepSpares, Kill, Retire
from appliance.rotation.finding import found
from appliance.rotation.state import Stage, check
from appliance.rotation.table import step
from engine.allocation import SMAllocation
from engine.wire.to_controller import FormedGroup, Groups, Status, WorkerStatus

OTHERWISE = SMAllocation(80, 20)
FORMED = SMAllocation(50, 50)


def worker(epoch: int, slot: str, phase: str, share: int, *, is_active: bool, pid: int = 1) -> WorkerStatus:
    return WorkerStatus(epoch, slot, (phase,), pid, "duty", share, 0, is_active, 0, 0.0)


def pair(epoch: int, slot: str, prefill: int, *, is_active: bool) -> list[WorkerStatus]:
    shares = {"prefill": prefill, "decode": 100 - prefill}
    return [worker(epoch, slot, phase, share, is_active=is_active) for phase, share in shares.items()]


def status(*workers: WorkerStatus) -> Status:
    return Status(True, 0, 0, 0, 100, 100, 0, workers)


def leader(slot: str, *epochs: int, latest: int = 0) -> Groups:
    return Groups(
        slot, 10, latest or max(epochs, default=0), tuple(FormedGroup(epoch, 50, 50, (1, 2)) for epoch in epochs)
    )


def test_nothing_there_is_the_beginning() -> None:
    state, actions = found(status(), [leader("a"), leader("b")], OTHERWISE)
    assert (state.groups, state.in_force, actions) == ((), OTHERWISE, ())
    assert state.can_rotate


def test_the_group_that_receives_work_is_active_at_the_split_its_workers_hold() -> None:
    state, actions = found(
        status(*pair(4, "b", 70, is_active=True)), [leader("a", latest=3), leader("b", 4)], OTHERWISE
    )
    assert state.active is not None
    assert (state.active.epoch, state.active.slot, state.in_force) == (4, "b", SMAllocation(70, 30))
    assert actions == (KeepSpares("a"),)
    after, _ = step(state, Asked(FORMED))
    assert after.latest_epoch == 5


def test_one_that_served_before_retires_when_it_is_idle() -> None:
    workers = [*pair(1, "a", 50, is_active=False), *pair(2, "b", 60, is_active=True)]
    state, actions = found(status(*workers), [leader("a", 1), leader("b", 2)], OTHERWISE)
    assert [group.stage for group in state.groups] == [Stage.LEAVING, Stage.ACTIVE]
    assert actions == ()
    _, actions = step(state, Idle(1))
    assert actions == (Retire(1),)


def test_one_that_was_never_finished_is_killed_and_the_active_one_left_alone() -> None:
    workers = [*pair(1, "a", 60, is_active=True), worker(2, "b", "prefill", 50, is_active=False)]
    state, actions = found(status(*workers), [leader("a", 1), leader("b", 2)], OTHERWISE)
    assert actions == (Kill(2, "b"),)
    assert state.active is not None
    state, actions = step(state, Gone(2))
    assert actions == (KeepSpares("b"),)


def test_where_half_of_the_active_group_is_left_another_is_formed_at_the_usual_split() -> None:
    half = worker(1, "a", "prefill", 60, is_active=True)
    state, actions = found(status(half), [leader("a", 1), leader("b")], OTHERWISE)
    assert actions == (Kill(1, "a"),)
    assert state.can_rotate
    assert state.in_force == OTHERWISE


def test_one_worker_for_both_phases_has_the_split_it_was_formed_with() -> None:
    both = WorkerStatus(1, "a", ("prefill", "decode"), 1, "none", 100, 0, True, 0, 0.0)
    state, _ = found(status(both), [leader("a", 1), leader("b")], OTHERWISE)
    assert state.in_force == FORMED


@pytest.mark.parametrize("latest", [0, 9])
def test_epochs_go_on_from_the_highest_anybody_knows(latest: int) -> None:
    state, _ = found(status(*pair(4, "a", 50, is_active=True)), [leader("a", 4), leader("b", latest=latest)], OTHERWISE)
    assert state.latest_epoch == max(4, latest)
    check(state)
