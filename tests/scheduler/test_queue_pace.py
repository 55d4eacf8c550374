"""Who would wait for too long is refused, by the pace at which those before it begin."""

from __future__ import annotations

import pytest

from engine.errors import Overloaded
from engine.gateway.admission import admit
from engine.request import Request, SamplingParams
from engine.scheduler.admission import refusal
from engine.scheduler.limits import Limits
from engine.scheduler.load_table import LoadSnapshot
from engine.scheduler.queue_pace import QueuePace

REQUEST = Request(1, [7], SamplingParams(max_tokens=5))


class Queue:
    """Requests come and begin at times that are given."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waiting = 0
        self.pace = QueuePace(lambda: self.now)

    def comes(self, count: int = 1) -> None:
        for _ in range(count):
            self.pace.comes(self.waiting)
            self.waiting += 1

    def begins(self, count: int = 1) -> None:
        for _ in range(count):
            self.waiting -= 1
            self.pace.begins(self.waiting)

    @property
    def wait_seconds(self) -> float:
        return self.pace.wait_seconds(self.waiting)


def test_nothing_is_known_before_somebody_had_to_wait() -> None:
    queue = Queue()
    for _ in range(5):
        queue.comes()
        queue.now += 0.01
        queue.begins()
    assert queue.wait_seconds == 0.0
    queue.comes(10)
    assert queue.wait_seconds == 0.0


def test_the_wait_is_that_of_all_before_at_the_pace_of_the_queue() -> None:
    queue = Queue()
    queue.now = 100.0
    queue.comes(50)
    for _ in range(10):
        queue.now += 0.2
        queue.begins(2)  # a step takes several at once
    assert queue.wait_seconds == pytest.approx(30 * 0.1, rel=0.05)


def test_time_without_a_queue_does_not_count() -> None:
    queue = Queue()
    queue.comes(3)
    queue.now += 0.1
    queue.begins(3)
    queue.now += 1000.0
    queue.comes(20)
    for _ in range(10):
        queue.now += 0.1
        queue.begins()
    assert queue.wait_seconds == pytest.approx(10 * 0.1, rel=0.3)


def test_a_slower_pace_is_followed() -> None:
    queue = Queue()
    queue.comes(400)
    for seconds in (0.01, 0.1):
        for _ in range(150):
            queue.now += seconds
            queue.begins()
    assert queue.wait_seconds == pytest.approx(100 * 0.1, rel=0.05)


def limits(max_queue_seconds: float | None) -> Limits:
    return Limits(
        max_model_len=100,
        max_running_requests=4,
        max_queued_requests=1000,
        prefill_token_budget=64,
        max_queue_seconds=max_queue_seconds,
    )


@pytest.mark.parametrize(("limit", "is_refused"), [(None, False), (3.0, False), (0.5, True)])
def test_scheduler_and_gateway_refuse_alike(limit: float | None, is_refused: bool) -> None:
    problem = refusal(REQUEST, limits(limit), 9, 2.7, live_of_key=0, is_ready=True, pool_tokens=100)
    load = LoadSnapshot(ready=True, waiting=9, queue_limit=1000, wait_seconds=2.7, wait_limit_seconds=limit or 0.0)
    if not is_refused:
        assert problem is None
        admit(load, "")
        return
    assert isinstance(problem, Overloaded) and problem.retry_after_seconds == 3
    assert problem.message == "It would wait for about 2.7 s, and 0.5 s is the limit."
    with pytest.raises(Overloaded, match=problem.message):
        admit(load, "")
