"""The pause that streams see where decode changes hands, by a clock that the test moves on."""

from __future__ import annotations

import pytest
from msgspec import structs

from engine.allocation import SMAllocation
from engine.wire.to_controller import HandOver
from engine.wire.to_scheduler import ChangeSplit
from tests.scheduler.rehearsal import CONTROLLER, GATEWAY, Rehearsal, undisturbed

PREFILL, DECODE, NEW_DECODE = b"prefill-1", b"decode-1", b"decode-2"
STEP = 0.010


class Clock:
    """Seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Stage(Rehearsal):
    """Steps of decode take 10 ms."""

    def __init__(self, pages: int = 40, grant_ahead_tokens: int = 4):
        self.clock = Clock()
        super().__init__(pages, clock=self.clock, prefix_caching=False, grant_ahead_tokens=grant_ahead_tokens)
        self.hand_overs()

    def decode(self, peer: bytes, after: float = STEP) -> None:
        self.clock.now += after
        assert self.work(peer)

    def activate(self, epoch: int) -> None:
        self.scheduler.activate(CONTROLLER, epoch)
        self.settle()

    def change(self, sequence: int, split: SMAllocation) -> None:
        self.scheduler.change_split(CONTROLLER, ChangeSplit(1, sequence, split))
        self.settle()

    def hand_overs(self) -> list[HandOver]:
        """Those told since the last time."""
        return list(self.scheduler.load_report().hand_overs)


@pytest.fixture
def stage() -> Stage:
    """Two streams have had some steps; the next group is ready."""
    stage = Stage()
    for request_id in (1, 2):
        stage.submit(request_id, prompt=6, max_tokens=20)
        stage.work(PREFILL)
    for _ in range(4):
        stage.decode(DECODE)
    stage.start_group(epoch=2)
    return stage


def only(hand_overs: list[HandOver]) -> HandOver:
    (told,) = hand_overs
    return told


def pauses(told: HandOver) -> list[float | None]:
    return [told.median_ms, told.longest_ms]


def test_from_the_last_token_of_the_old_worker_to_the_first_of_the_new_less_a_step(stage: Stage) -> None:
    stage.activate(2)
    stage.decode(DECODE, after=0.0)  # lets go of them
    assert not stage.hand_overs(), "nobody has got over it"
    stage.decode(NEW_DECODE, after=0.035)
    stage.decode(NEW_DECODE)
    told = only(stage.hand_overs())
    assert (told.epoch, told.change, told.streams) == (2, 0, 2)
    assert pauses(told) == [25.0, 25.0]
    assert not stage.hand_overs(), "it is told once"


def test_it_is_told_when_the_last_stream_has_got_over_it(stage: Stage) -> None:
    """All have left, and one hears of its new worker later than the others."""
    stage.submit(3, prompt=6, max_tokens=20)
    stage.work(PREFILL)
    stage.decode(DECODE)
    stage.activate(2)
    stage.decode(DECODE, after=0.0)
    worker = stage.workers[NEW_DECODE]
    order = worker.orders.popleft()
    first, late = order.joins[:2], order.joins[2:]  # type: ignore[attr-defined]
    worker.orders.append(structs.replace(order, joins=first))
    stage.decode(NEW_DECODE, after=0.030)
    assert not stage.hand_overs()
    worker.orders.append(structs.replace(order, joins=late))
    stage.decode(NEW_DECODE, after=0.050)
    told = only(stage.hand_overs())
    assert told.streams == 3 and pauses(told) == [20.0, 70.0]


def test_a_takeover_after_a_loss_pauses_from_the_last_token_before_it(stage: Stage) -> None:
    stage.clock.now += 0.3
    stage.lose(DECODE)
    stage.lose(PREFILL)
    stage.clock.now += 0.5
    stage.activate(2)
    stage.decode(NEW_DECODE)
    told = only(stage.hand_overs())
    assert (told.epoch, told.streams) == (2, 2) and pauses(told) == [800.0, 800.0]


def test_a_split_in_place_pauses_until_the_worker_has_its_share(stage: Stage) -> None:
    stage.change(7, SMAllocation(60, 40))
    stage.decode(DECODE, after=0.002)  # takes its share
    assert not stage.hand_overs()
    stage.decode(DECODE, after=0.012)
    told = only(stage.hand_overs())
    assert (told.epoch, told.change, told.streams) == (1, 7, 2)
    assert pauses(told) == [4.0, 4.0]


def test_tokens_of_the_old_share_are_none_of_after(stage: Stage) -> None:
    """Decode grows, so that prefill shrinks first."""
    stage.change(7, SMAllocation(40, 60))
    stage.decode(DECODE)
    stage.decode(DECODE)
    assert not stage.hand_overs()
    stage.work(PREFILL)
    stage.decode(DECODE, after=0.0)
    stage.decode(DECODE)
    assert pauses(only(stage.hand_overs())) == [0.0, 0.0]


def test_no_stream_was_under_way() -> None:
    stage = Stage()
    stage.start_group(epoch=2)
    stage.activate(2)
    assert stage.hand_overs() == [HandOver(2)]
    stage.activate(2)
    assert not stage.hand_overs(), "nothing changed hands"


def test_who_ends_before_saw_no_pause(stage: Stage) -> None:
    stage.activate(2)
    stage.cancel(1)
    stage.decode(DECODE)
    stage.clock.now += 5.0
    stage.cancel(2)
    stage.finish()
    assert stage.hand_overs() == [HandOver(2)]


def test_one_overtaken_by_another_is_not_told_and_its_silence_counts_there(stage: Stage) -> None:
    stage.activate(2)
    stage.decode(DECODE, after=0.0)
    stage.clock.now += 0.1
    stage.lose(NEW_DECODE)
    stage.activate(1)
    stage.decode(DECODE)
    told = only(stage.hand_overs())
    assert told.epoch == 1 and pauses(told) == [100.0, 100.0]


def test_a_preempted_request_waits_for_its_prompt_and_not_for_the_hand_over() -> None:
    stage = Stage(pages=8, grant_ahead_tokens=1)
    for request_id in (1, 2):
        stage.submit(request_id, prompt=6, max_tokens=20)
        stage.work(PREFILL)
    while not stage.scheduler.preemptions:
        stage.decode(DECODE)
    stage.start_group(epoch=2)
    stage.activate(2)
    stage.finish()
    told = only(stage.hand_overs())
    assert (told.epoch, told.streams) == (2, 1)
    assert stage.outputs == {request_id: undisturbed(request) for request_id, request in stage.requests.items()}


def test_a_probe_is_no_stream(stage: Stage) -> None:
    stage.cancel(1)
    stage.cancel(2)
    stage.finish()
    probe = structs.replace(stage.requests[1], request_id=9, is_probe=True)
    stage.scheduler.submit(GATEWAY, probe)
    stage.settle()
    stage.work(PREFILL)
    stage.decode(DECODE)
    stage.activate(2)
    assert stage.hand_overs() == [HandOver(2)]


def test_without_a_step_before_the_pause_has_the_step_in_it() -> None:
    stage = Stage()
    stage.start_group(epoch=2)
    stage.submit(1, prompt=6, max_tokens=20)
    stage.work(PREFILL)
    stage.activate(2)
    stage.decode(DECODE, after=0.0)  # joins and leaves
    stage.decode(NEW_DECODE, after=0.020)
    assert pauses(only(stage.hand_overs())) == [20.0, 20.0]
