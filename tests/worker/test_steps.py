"""When steps are launched, seen and reported, and when a request has left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from engine.model.lane import Lane
from engine.model.segment import Drawn
from engine.request import FinishReason, SamplingParams
from engine.wire.to_scheduler import DecodeReport
from engine.wire.to_worker import DecodeOrder, Grant, Join
from engine.worker.decode_steps import DecodeSteps
from engine.worker.decoder import Decoder
from engine.worker.step_time import LATE_SECONDS, LAUNCH_SECONDS

STOP = 7
PAGE_SIZE = 4


class Script:
    """A runner whose draws are given beforehand, by request; it writes down what happens when."""

    def __init__(self, draws: dict[int, list[int]], runs_ahead: bool = True):
        self.runs_ahead = runs_ahead
        self.on_launch: Callable[[], None] = lambda: None
        self.device_seconds: float | None = None
        self.log: list[str] = []
        self._draws = draws

    def launch(self, lanes: Sequence[Lane]) -> ScriptedStep:
        at = sum(line.startswith("launch") for line in self.log) + 1
        self.on_launch()
        self.log.append(f"launch {at}: {' '.join(f'{lane.request_id}@{lane.position}' for lane in lanes)}")
        return ScriptedStep(at, self, [Drawn(self._draws[lane.request_id].pop(0)) for lane in lanes])


class ScriptedStep:
    def __init__(self, at: int, script: Script, drawn: list[Drawn]):
        self._at, self._script, self._drawn = at, script, drawn

    def tokens(self) -> list[Drawn]:
        self._script.log.append(f"seen {self._at}")
        return self._drawn

    @property
    def device_seconds(self) -> float | None:
        return self._script.device_seconds


def join(request_id: int, pages: int = 10, **sampling: Any) -> Join:
    params = SamplingParams(**({"max_tokens": 100, "temperature": 0.0, "stop_token_ids": (STOP,)} | sampling))
    return Join(request_id, 1, 0, 1, list(range(1, pages + 1)), params)


def steps(script: Script, *joins: Join, sequence: int = 1) -> DecodeSteps:
    decoding = DecodeSteps(Decoder(5, PAGE_SIZE), script)
    decoding.apply(DecodeOrder(5, sequence, joins=joins))
    return decoding


def turn(decoding: DecodeSteps, borrowed: bool = False) -> list[DecodeReport]:
    return [report for report in decoding.turn(borrowed) if isinstance(report, DecodeReport)]


def test_a_step_is_launched_before_the_last_one_is_seen() -> None:
    script = Script({1: [11, 12, 13]})
    decoding = steps(script, join(1))
    assert turn(decoding) == []
    (first,) = turn(decoding)
    (second,) = turn(decoding)
    assert script.log == ["launch 1: 1@0", "launch 2: 1@1", "seen 1", "launch 3: 1@2", "seen 2"]
    assert [token.token_id for token in first.tokens + second.tokens] == [11, 12]
    assert [token.index for token in first.tokens + second.tokens] == [1, 2]
    assert (first.step, second.step) == (1, 2)


def test_a_runner_that_does_not_run_ahead_is_seen_in_the_same_turn() -> None:
    script = Script({1: [11, 12]}, runs_ahead=False)
    decoding = steps(script, join(1))
    assert [len(turn(decoding)) for _ in range(2)] == [1, 1]
    assert script.log == ["launch 1: 1@0", "seen 1", "launch 2: 1@1", "seen 2"]


def test_what_follows_a_stop_is_dropped_and_the_request_leaves_when_its_last_step_is_done() -> None:
    script = Script({1: [STOP, 99], 2: [21, 22, 23]})
    decoding = steps(script, join(1), join(2))
    turn(decoding)
    (first,) = turn(decoding)
    assert [(token.request_id, token.finish) for token in first.tokens] == [(1, FinishReason.STOP), (2, None)]
    assert first.left == (), "step 2 is in flight and writes its page"
    (second,) = turn(decoding)
    assert [(token.request_id, token.token_id) for token in second.tokens] == [(2, 22)]
    assert second.left == (1,)
    assert script.log[-2:] == ["launch 3: 2@2", "seen 2"]


def test_an_end_that_is_known_beforehand_costs_no_step() -> None:
    script = Script({1: [11], 2: [21, 22, 23]})
    decoding = steps(script, join(1, max_tokens=2), join(2))
    turn(decoding)
    (first,) = turn(decoding)
    assert script.log[1] == "launch 2: 2@1"
    assert first.left == (1,)


def test_the_last_step_is_seen_when_there_is_nothing_to_launch() -> None:
    decoding = steps(Script({1: [11]}), join(1, max_tokens=2))
    assert turn(decoding) == []
    assert decoding.has_work
    (last,) = turn(decoding)
    assert last.left == (1,)
    assert not decoding.has_work


def test_who_is_told_to_leave_has_left_after_the_step_in_flight() -> None:
    script = Script({1: [11, 12], 2: [21, 22, 23]})
    decoding = steps(script, join(1), join(2))
    turn(decoding)
    turn(decoding)
    decoding.apply(DecodeOrder(5, 2, leaves=(1,)))
    (report,) = turn(decoding)
    assert script.log[-2:] == ["launch 3: 2@2", "seen 2"]
    assert [token.token_id for token in report.tokens] == [12, 22], "it was launched before: the token is right"
    assert report.left == (1,)
    assert report.sequence == 1, "the order was applied after this step was launched"


def test_leaving_is_answered_although_nobody_is_left_to_step() -> None:
    decoding = steps(Script({}), join(1, pages=0))
    assert not decoding.has_work
    decoding.apply(DecodeOrder(5, 2, leaves=(1,)))
    (report,) = turn(decoding)
    assert (report.tokens, report.left, report.sequence) == ((), (1,), 2)
    assert not decoding.has_work


def test_a_lane_without_a_page_skips_and_comes_back_with_the_token_it_drew() -> None:
    script = Script({1: [11, 12, 13, 14, 15], 2: list(range(20, 40))})
    decoding = steps(script, join(1, pages=1), join(2))
    for _ in range(6):
        turn(decoding)
    assert script.log[-2:] == ["launch 6: 2@5", "seen 5"]
    decoding.apply(DecodeOrder(5, 2, grants=(Grant(1, [44]),)))
    turn(decoding)
    assert script.log[-2] == "launch 7: 1@4 2@6"


def test_penalties_and_logprobs_wait_for_the_token() -> None:
    wanted: list[dict[str, Any]] = [{"repetition_penalty": 1.2}, {"logprobs": 0}]
    for sampling in wanted:
        script = Script({1: [11, 12], 2: [21, 22]})
        decoding = steps(script, join(1), join(2, **sampling))
        assert [len(turn(decoding)) for _ in range(2)] == [1, 1]
        assert script.log == ["launch 1: 1@0 2@0", "seen 1", "launch 2: 1@1 2@1", "seen 2"]


def test_finishing_waits_for_what_is_in_flight_and_launches_nothing() -> None:
    script = Script({1: [11, 12]})
    decoding = steps(script, join(1))
    turn(decoding)
    turn(decoding)
    (last,) = decoding.finish()
    assert isinstance(last, DecodeReport)
    assert [token.token_id for token in last.tokens] == [12]
    assert script.log[-1] == "seen 2"
    assert decoding.finish() == []


def test_orders_are_waited_for_until_shortly_before_the_step_ends() -> None:
    now = 100.0
    script = Script({1: [11, 12, 13, 14]})
    decoding = DecodeSteps(Decoder(5, PAGE_SIZE), script, clock=lambda: now)
    decoding.apply(DecodeOrder(5, 1, joins=(join(1),)))
    assert decoding.seconds_to_spare == 0.0
    turn(decoding)
    assert decoding.seconds_to_spare == 0.0, "how long a step takes is not known yet"
    now, script.device_seconds = now + 0.020, 0.020
    turn(decoding)
    assert decoding.seconds_to_spare == pytest.approx(0.020 - LAUNCH_SECONDS)
    now += 0.015
    assert decoding.seconds_to_spare == pytest.approx(0.005 - LAUNCH_SECONDS)
    now, script.device_seconds = now + 0.010, 0.008
    assert decoding.seconds_to_spare == 0.0
    turn(decoding)
    assert decoding.seconds_to_spare == pytest.approx(0.008 - LAUNCH_SECONDS), (
        "the device's time, however late it is seen"
    )
    now, script.device_seconds = now + 0.010, 0.012
    turn(decoding)
    assert decoding.seconds_to_spare == pytest.approx(0.008 - LAUNCH_SECONDS), "the shortest step counts"


def test_a_long_step_in_the_own_part_is_not_taken_for_one_with_the_whole_device() -> None:
    """Else the next would be launched, and its part chosen, while this one has most of its time before it."""
    now = 100.0
    script = Script({1: [11, 12, 13, 14, 15, 16]})
    decoding = DecodeSteps(Decoder(5, PAGE_SIZE), script, clock=lambda: now)
    decoding.apply(DecodeOrder(5, 1, joins=(join(1),)))
    script.device_seconds = 0.014
    for borrowed in (True, True, False):
        turn(decoding, borrowed)
        now += 0.014
    script.device_seconds = 0.048  # of the third step, which is seen next
    turn(decoding, False)
    assert decoding.seconds_to_spare == pytest.approx(0.048 - LAUNCH_SECONDS)
    now += 0.048
    turn(decoding, True)
    assert decoding.seconds_to_spare == pytest.approx(0.014 - LAUNCH_SECONDS)


def test_a_host_that_needs_long_to_launch_begins_sooner() -> None:
    now = 100.0

    def launching_takes_4_ms() -> None:
        nonlocal now
        now += 0.004

    script = Script({1: [11, 12, 13, 14]})
    script.on_launch, script.device_seconds = launching_takes_4_ms, 0.020
    decoding = DecodeSteps(Decoder(5, PAGE_SIZE), script, clock=lambda: now)
    decoding.apply(DecodeOrder(5, 1, joins=(join(1),)))
    turn(decoding)
    turn(decoding)
    assert decoding.seconds_to_spare == pytest.approx(0.020 - 0.004 - LATE_SECONDS)


def test_without_a_step_in_flight_nothing_is_waited_for() -> None:
    script = Script({1: [11, 12]}, runs_ahead=False)
    decoding = steps(script, join(1))
    turn(decoding)
    assert decoding.seconds_to_spare == 0.0
