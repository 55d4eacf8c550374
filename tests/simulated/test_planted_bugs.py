"""The simulation can fail: with a mistake in the product, some of the first seeds find it, and find it again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.rotation.scheduler_losses import SchedulerLosses
from engine.scheduler.departures import Departures
from engine.scheduler.live_request import Exit, LiveRequest
from engine.scheduler.scheduler import Scheduler
from engine.storage.allocator import PageAllocator
from engine.storage.ledger import Ledger
from engine.worker.decoder import Decoder
from tests.simulated.replay import Failure, replay
from tests.simulated.simulated_worker import SimulatedWorker

SEEDS = range(100)
Plant = Callable[[pytest.MonkeyPatch], None]


def pages_are_released_twice(patch: pytest.MonkeyPatch) -> None:
    """A page is free twice, and given to two."""
    release = PageAllocator.release

    def release_and_again(self: PageAllocator, owner: int) -> None:
        pages = list(self.table(owner))
        release(self, owner)
        self._free.extend(page for page in pages if self._ledger.is_free(page))

    patch.setattr(PageAllocator, "release", release_and_again)


def pages_come_back_before_the_worker_has_let_go(patch: pytest.MonkeyPatch) -> None:
    """Against the `left` rule."""

    def end_at_once(self: Scheduler, live: LiveRequest, reason: Exit) -> None:
        live.exit = reason
        self.decode.let_go(live)
        if not live.in_flight:
            self._quiet(live)

    patch.setattr(Scheduler, "_end", end_at_once)


def the_next_scheduler_does_not_wait_for_the_old_workers(patch: pytest.MonkeyPatch) -> None:
    """And one that goes on after its scheduler's end writes to pages that others have been given."""
    begin = SchedulerLosses.begin

    def begin_at_once(self: SchedulerLosses, problem: str, last_epoch: int) -> None:
        begin(self, problem, 0)

    patch.setattr(SchedulerLosses, "begin", begin_at_once)
    patch.setattr(SimulatedWorker, "_scheduler_ended", lambda self: None)


def an_unreported_token_is_committed(patch: pytest.MonkeyPatch) -> None:
    """What a worker was writing when it was lost counts as written."""
    commit = Scheduler._commit
    patch.setattr(Scheduler, "_commit", lambda self, live, tokens: commit(self, live, max(tokens, live.length)))


def a_request_leaves_while_a_step_touches_it(patch: pytest.MonkeyPatch) -> None:
    """The worker says `left` too early."""

    def take_left(self: Decoder) -> tuple[int, ...]:
        left, self._leaving = tuple(self._leaving), []
        return left

    patch.setattr(Decoder, "_take_left", take_left)


def pages_are_not_handed_over(patch: pytest.MonkeyPatch) -> None:
    """Another group writes pages that stand under the old epoch."""
    patch.setattr(Ledger, "hand_over", lambda self, pages, owner, epoch: None)


def nobody_waits_for_what_a_killed_worker_had_launched(patch: pytest.MonkeyPatch) -> None:
    """On a GPU its kernels may outlive it."""
    patch.setattr(Departures, "must_wait", lambda self, worker, owes, now: False)


def a_lost_request_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Its client waits for ever."""
    patch.setattr(Scheduler, "_quiet", quiet_for_good)


def quiet_for_good(self: Scheduler, live: LiveRequest) -> None:
    """As `Scheduler._quiet`, of which nobody comes back."""
    self.prefill.remove(live)
    self.decode.remove(live)
    self.allocator.release(live.id)
    self._forget(live)


@pytest.mark.parametrize(
    "plant",
    [
        pages_are_released_twice,
        pages_come_back_before_the_worker_has_let_go,
        the_next_scheduler_does_not_wait_for_the_old_workers,
        an_unreported_token_is_committed,
        a_request_leaves_while_a_step_touches_it,
        pages_are_not_handed_over,
        nobody_waits_for_what_a_killed_worker_had_launched,
        a_lost_request_is_forgotten,
    ],
)
def test_a_planted_bug_is_found_and_found_again(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    failure = next((result for result in map(replay, SEEDS) if isinstance(result, Failure)), None)
    assert failure is not None, f"{plant.__name__}: nobody notices in {len(SEEDS)} seeds"
    again = replay(failure.seed)
    assert isinstance(again, Failure)
    assert again._replace(trace="") == failure._replace(trace="")
    assert f"python -m tests.simulated --seed {failure.seed}" in str(failure)
    assert failure.last_events, "it says what led to it"
