"""A split that a group takes in place: who goes first, what is refused, and what requests notice of it: nothing."""

from __future__ import annotations

import pytest

from engine.allocation import Phase, SMAllocation
from engine.scheduler.groups import Worker
from engine.scheduler.split_change import SplitChange, next_to_change, refusal
from engine.wire.to_controller import SplitChanged
from engine.wire.to_scheduler import ChangeSplit, SharesPrepared, WorkerReady
from engine.wire.to_worker import TakeShare
from tests.scheduler.rehearsal import CONTROLLER, Rehearsal, undisturbed

PREFILL, DECODE = b"prefill-1", b"decode-1"


def group(prefill: int, decode: int, prepared: tuple[int, ...] | None = None) -> list[Worker]:
    shares = {Phase.PREFILL: prefill, Phase.DECODE: decode}
    return [
        Worker(phase.encode(), WorkerReady(1, "a", (phase,), 1, "green", share, 0, prepared))
        for phase, share in shares.items()
    ]


@pytest.mark.parametrize(
    ("now", "then", "turns"),
    [
        ((50, 50), (60, 40), ["decode", "prefill"]),
        ((50, 50), (30, 70), ["prefill", "decode"]),
        ((80, 100), (50, 50), ["prefill decode"]),
        ((50, 50), (80, 100), ["prefill decode"]),
        ((50, 50), (50, 80), ["decode"]),
        ((50, 50), (50, 50), []),
    ],
)
def test_whose_part_shrinks_goes_first(now: tuple[int, int], then: tuple[int, int], turns: list[str]) -> None:
    workers, split = group(*now), SMAllocation(*then)
    seen = []
    while pending := next_to_change(workers, split):
        seen.append(" ".join(worker.phase for worker in pending))
        for worker in pending:
            assert worker.order_share(split.share(worker.phase))
            worker.took(split.share(worker.phase), 0)
    assert seen == turns


@pytest.mark.parametrize(("prepared", "split"), [(None, "100/100"), ((40, 60, 100), "100/100")])
def test_two_workers_do_not_become_one(prepared: tuple[int, ...] | None, split: str) -> None:
    assert "computed by one worker" in refusal(group(60, 40, prepared), SMAllocation(*map(int, split.split("/"))))


@pytest.mark.parametrize("prepared", [None, (40, 60, 100)])
def test_one_worker_does_not_become_two(prepared: tuple[int, ...] | None) -> None:
    both = [Worker(b"both", WorkerReady(1, "a", (Phase.PREFILL, Phase.DECODE), 1, "none", 100, 0, prepared))]
    assert "computed by two workers" in refusal(both, SMAllocation(60, 40))
    assert refusal(both, SMAllocation(100, 100)) == ""


def test_who_was_told_something_else_meanwhile_is_not_done() -> None:
    """Nor when it was told the right thing since: it takes the one, and then the other."""
    workers = group(50, 50)
    prefill, split = workers[0], SMAllocation(50, 50)
    for told in (40, 50):
        assert prefill.order_share(told)
        assert next_to_change(workers, split) == [prefill]
    for taken in (40, 50):
        assert next_to_change(workers, split) == [prefill]
        prefill.took(taken, 0)
    assert next_to_change(workers, split) == []


def test_what_one_of_them_has_not_prepared_is_refused_in_a_sentence() -> None:
    workers = group(50, 50, prepared=(40, 50, 100))
    assert refusal(workers, SMAllocation(40, 100)) == ""
    assert "has not prepared a share of 60 %" in refusal(workers, SMAllocation(40, 60))


@pytest.fixture
def stage() -> Rehearsal:
    """Two requests decode, one is half prefilled."""
    stage = Rehearsal(prefix_caching=False)
    stage.submit(1, prompt=6, max_tokens=20)
    stage.submit(2, prompt=6, max_tokens=20)
    stage.work(PREFILL)
    stage.work(DECODE)
    stage.submit(3, prompt=60, max_tokens=5)
    stage.work(PREFILL)
    return stage


def change(stage: Rehearsal, prefill: int, decode: int, epoch: int = 1) -> None:
    stage.scheduler.change_split(CONTROLLER, ChangeSplit(epoch, 7, SMAllocation(prefill, decode)))
    stage.settle()


def answers(stage: Rehearsal) -> list[SplitChanged]:
    return [told for told in stage.told_controller if isinstance(told, SplitChanged)]


def shares(stage: Rehearsal) -> dict[bytes, tuple[int, int]]:
    workers = stage.scheduler.groups.workers.values()
    return {worker.peer: (worker.share, worker.sm_count) for worker in workers}


def told_to_take(stage: Rehearsal, peer: bytes) -> list[int]:
    return [order.percentage for order in stage.workers[peer].orders if isinstance(order, TakeShare)]


def test_the_other_is_told_when_the_first_has_shrunk(stage: Rehearsal) -> None:
    change(stage, 30, 70)
    assert told_to_take(stage, PREFILL) == [30] and told_to_take(stage, DECODE) == []
    while told_to_take(stage, PREFILL):
        stage.work(PREFILL)
    assert shares(stage) == {PREFILL: (30, 30), DECODE: (50, 0)}
    assert told_to_take(stage, DECODE) == [70]
    assert answers(stage) == [], "it is not over yet"
    stage.finish()
    assert shares(stage) == {PREFILL: (30, 30), DECODE: (70, 70)}
    assert answers(stage) == [SplitChanged(1, 7)]


def test_no_request_notices(stage: Rehearsal) -> None:
    for prefill in (30, 80, 60, 50):
        change(stage, prefill, 100 - prefill)
        stage.work(DECODE)
        stage.work(PREFILL)
    stage.finish()
    assert stage.outputs == {request_id: undisturbed(request) for request_id, request in stage.requests.items()}
    assert stage.scheduler.preemptions == 0


def test_a_share_that_is_prepared_later_can_be_taken_later(stage: Rehearsal) -> None:
    for peer in (PREFILL, DECODE):
        stage.scheduler.shares_prepared(peer, SharesPrepared(1, (50,)))
    change(stage, 40, 60)
    (refused,) = answers(stage)
    assert "has not prepared a share of 40 %" in refused.problem
    stage.scheduler.shares_prepared(PREFILL, SharesPrepared(1, (40, 50)))
    stage.scheduler.shares_prepared(DECODE, SharesPrepared(1, (50, 60)))
    change(stage, 40, 60)
    stage.finish()
    assert answers(stage)[1:] == [SplitChanged(1, 7)]


def test_a_group_that_is_not_there_is_refused(stage: Rehearsal) -> None:
    change(stage, 40, 60, epoch=5)
    assert answers(stage) == [SplitChanged(5, 7, "The group of epoch 5 is not ready.")]


def test_a_group_that_is_lost_meanwhile_is_not_answered_for(stage: Rehearsal) -> None:
    change(stage, 30, 70)
    stage.lose(PREFILL)
    stage.work(DECODE)
    assert answers(stage) == []


def test_the_status_tells_shares_and_what_was_borrowed(stage: Rehearsal) -> None:
    change(stage, 30, 70)
    stage.finish()
    told = {worker.phases: (worker.share_percentage, worker.prepared) for worker in stage.scheduler.status.workers}
    assert told == {("prefill",): (30, None), ("decode",): (70, None)}


def test_who_takes_another_share_is_told_what_to_prepare_beside_it() -> None:
    prefill, decode = group(50, 50)
    beside = (SMAllocation(50, 50), SMAllocation(70, 30), SMAllocation(70, 50))
    change = SplitChange(CONTROLLER, 1, 7, SMAllocation(60, 40), beside)
    assert change.order(prefill) == TakeShare(1, 1, 60, prepare=(50, 70))
    assert change.order(decode) == TakeShare(1, 1, 40, prepare=(50, 30))
