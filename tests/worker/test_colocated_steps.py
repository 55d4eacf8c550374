"""When packed steps are launched, what their lanes are fed, and how long an order is waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from engine.model.lane import Lane
from engine.model.launched_step import Fed
from engine.model.runner import ModelRunner
from engine.model.segment import Drawn, Segment
from engine.request import SamplingParams
from engine.wire.to_scheduler import DecodeReport, PrefillReport
from engine.wire.to_worker import DecodeOrder, Join, PrefillChunk, PrefillOrder
from engine.worker.colocated_steps import ColocatedSteps
from engine.worker.decoder import Decoder
from engine.worker.in_flight import ANSWER_SECONDS, LOOK_SECONDS
from engine.worker.prefiller import Prefiller
from tests.scheduler.rehearsal import undisturbed
from tests.worker.running_ahead import AheadRehearsal

STEP_SECONDS = 0.020


class Device:
    """Computes one step after the other, each for `STEP_SECONDS`, and writes down what happens when.

    A draw is the number of the step that drew it.
    """

    def __init__(self, runs_ahead: bool = True):
        self.runs_ahead = runs_ahead
        self.log: list[str] = []
        self.now = 100.0
        self._free_at = 0.0

    def clock(self) -> float:
        return self.now

    def begun(self, what: str, draws: Sequence[bool]) -> StepOnDevice:
        number = sum(line.startswith("launch") for line in self.log) + 1
        self.log.append(f"launch {number}: {what}")
        self._free_at = max(self.now, self._free_at) + STEP_SECONDS
        return StepOnDevice(self, number, [Drawn(number) if draw else None for draw in draws], self._free_at)


class StepOnDevice:
    device_seconds = STEP_SECONDS

    def __init__(self, device: Device, number: int, drawn: list[Drawn | None], over_at: float):
        self._device, self.number, self._drawn, self._over_at = device, number, drawn, over_at

    @property
    def is_over(self) -> bool:
        return self._device.now >= self._over_at

    def tokens(self) -> list[Drawn | None]:
        self._device.now = max(self._device.now, self._over_at)
        self._device.log.append(f"seen {self.number}")
        return self._drawn


class PackedRunner:
    """A `ModelRunner`, and what its steps over segments are given."""

    def __init__(self, device: Device):
        self._device = device

    def launch(self, segments: Sequence[Segment], fed: Fed | None = None) -> StepOnDevice:
        drawn_by = fed.drawn_by if fed else {}
        what = [f"<{drawn_by[at]}" if at in drawn_by else f"{part.token_ids}" for at, part in enumerate(segments)]
        return self._device.begun(" ".join(what), [part.sampling is not None for part in segments])


class LanesRunner:
    """A `DecodeRunner`."""

    def __init__(self, device: Device):
        self._device = device
        self.runs_ahead = device.runs_ahead

    def launch(self, lanes: Sequence[Lane]) -> Any:
        return self._device.begun(f"lanes at {[lane.position for lane in lanes]}", [True] * len(lanes))


def colocated(device: Device, lanes: int = 0, **sampling: Any) -> ColocatedSteps:
    runner = cast(ModelRunner, PackedRunner(device))
    steps = ColocatedSteps(Prefiller(), Decoder(5, 16), runner, LanesRunner(device), device.clock)
    wanted = SamplingParams(**({"max_tokens": 100, "temperature": 0.0} | sampling))
    joins = tuple(Join(10 + at, 70 + at, 8, 1, [at + 1], wanted) for at in range(lanes))
    if joins:
        steps.apply(DecodeOrder(5, 1, joins=joins))
    return steps


def order(sequence: int, **sampling: Any) -> PrefillOrder:
    """A prompt of one chunk, which draws with `sampling`, else one that goes on."""
    wanted = SamplingParams(**({"max_tokens": 9, "temperature": 0.0} | sampling)) if sampling else None
    return PrefillOrder(5, sequence, (PrefillChunk(sequence, [sequence] * 3, 0, [20 + sequence], wanted, 0),))


def test_the_next_step_is_launched_before_the_last_one_is_seen_and_its_lanes_are_fed_on_the_device() -> None:
    device = Device()
    steps = colocated(device, lanes=2)
    for sequence in (1, 2, 3):
        steps.apply(order(sequence))
    reports = [steps.turn() for _ in range(4)]
    assert device.log == [
        "launch 1: [1, 1, 1] [70] [71]",
        "launch 2: [2, 2, 2] <1 <2",
        "seen 1",
        "launch 3: [3, 3, 3] <1 <2",
        "seen 2",
    ]
    assert [len(each) for each in reports] == [0, 2, 2, 0], "an order may be on its way"
    prefilled, decoded = reports[1]
    assert isinstance(prefilled, PrefillReport) and isinstance(decoded, DecodeReport)
    assert [token.token_id for token in decoded.tokens] == [1, 1]
    assert prefilled.seconds == decoded.seconds == pytest.approx(STEP_SECONDS)
    assert [report.seconds for report in reports[2]] == [pytest.approx(STEP_SECONDS)] * 2


def test_who_joins_is_fed_what_the_host_knows() -> None:
    device = Device()
    steps = colocated(device, lanes=1)
    steps.apply(order(1))
    steps.turn()
    wanted = SamplingParams(max_tokens=100, temperature=0.0)
    steps.apply(DecodeOrder(5, 2, joins=(Join(30, 99, 4, 1, [9], wanted),)))
    steps.apply(order(2))
    steps.turn()
    assert device.log[1] == "launch 2: [2, 2, 2] <1 [99]"


def test_an_order_is_waited_for_while_it_may_be_on_its_way() -> None:
    device = Device()
    steps = colocated(device)
    steps.apply(order(1))
    assert steps.turn() == []
    assert steps.seconds_to_spare == LOOK_SECONDS
    assert steps.turn() == []
    device.now += ANSWER_SECONDS
    assert steps.seconds_to_spare == 0.0
    assert len(steps.turn()) == 1
    assert device.log == ["launch 1: [1, 1, 1]", "seen 1"]


def test_an_order_that_comes_in_time_is_launched_at_once() -> None:
    device = Device()
    steps = colocated(device)
    steps.apply(order(1))
    steps.turn()
    steps.apply(order(2))
    assert steps.seconds_to_spare == 0.0
    assert len(steps.turn()) == 1
    assert device.log == ["launch 1: [1, 1, 1]", "launch 2: [2, 2, 2]", "seen 1"]
    assert steps.turn() == [] and steps.seconds_to_spare == LOOK_SECONDS, "the report asks for another"


def test_a_step_that_is_over_is_seen_at_once() -> None:
    device = Device()
    steps = colocated(device)
    steps.apply(order(1))
    steps.turn()
    device.now += STEP_SECONDS
    assert steps.seconds_to_spare == 0.0
    assert len(steps.turn()) == 1
    assert not steps.has_work


@pytest.mark.parametrize("sampling", [{"repetition_penalty": 1.2}, {"logprobs": 0}], ids=str)
def test_a_step_whose_draws_the_next_depends_on_is_seen_in_the_same_turn(sampling: dict[str, Any]) -> None:
    device = Device()
    steps = colocated(device, lanes=1, **sampling)
    steps.apply(order(1))
    steps.apply(order(2))
    assert [len(steps.turn()) for _ in range(2)] == [2, 2]
    assert device.log == ["launch 1: [1, 1, 1] [70]", "seen 1", "launch 2: [2, 2, 2] [1]", "seen 2"]


def test_a_prompts_log_probabilities_are_not_kept_waiting() -> None:
    device = Device()
    steps = colocated(device)
    steps.apply(order(1, logprobs=2))
    steps.apply(order(2))
    steps.turn()
    assert device.log == ["launch 1: [1, 1, 1]", "seen 1"]


def test_a_runner_that_does_not_run_ahead_is_seen_in_the_same_turn() -> None:
    device = Device(runs_ahead=False)
    steps = colocated(device, lanes=1)
    steps.apply(order(1))
    steps.apply(order(2))
    assert [len(steps.turn()) for _ in range(2)] == [2, 2]
    assert device.log == ["launch 1: [1, 1, 1] [70]", "seen 1", "launch 2: [2, 2, 2] [1]", "seen 2"]


def test_steps_of_decode_alone_and_packed_ones_wait_for_each_other() -> None:
    """Each holds its lanes' last tokens in memory of its own."""
    device = Device()
    steps = colocated(device, lanes=1)
    steps.turn()
    steps.apply(order(1))
    steps.turn()
    device.now += STEP_SECONDS
    steps.turn()
    steps.turn()
    assert device.log == [
        "launch 1: lanes at [8]",
        "seen 1",
        "launch 2: [1, 1, 1] [1]",
        "seen 2",
        "launch 3: lanes at [10]",
    ]


def test_who_has_left_is_named_once_and_nobody_reports_for_lanes_that_are_not_there() -> None:
    device = Device()
    steps = colocated(device, lanes=1)
    steps.apply(order(1))
    steps.turn()
    steps.apply(DecodeOrder(5, 2, leaves=(10,)))
    steps.apply(order(2))
    steps.apply(order(3))
    left = [[report.left for report in steps.turn() if isinstance(report, DecodeReport)] for _ in range(2)]
    assert left == [[(10,)], []]
    assert not [report for report in steps.finish() if isinstance(report, DecodeReport)]
    assert not steps.has_work


def test_finishing_sees_what_is_in_flight_and_leaves_orders_alone() -> None:
    device = Device()
    steps = colocated(device, lanes=1)
    steps.apply(order(1))
    steps.turn()
    steps.apply(order(2))
    assert [type(report) for report in steps.finish()] == [PrefillReport, DecodeReport]
    assert device.log == ["launch 1: [1, 1, 1] [70]", "seen 1"]
    assert steps.finish() == []


def test_lanes_beside_prompts_give_what_the_model_says() -> None:
    """Steps are computed when they are seen: a lane that were fed what the host knew when it was launched would err."""
    stage = AheadRehearsal(pages=60, colocated=True, prefill_token_budget=4)
    peer = b"prefill+decode-1"
    lane = stage.submit(1, prompt=5, max_tokens=20)
    while len(stage.outputs.get(1, ())) < 2:
        stage.work(peer)
    prompts = [stage.submit(2, prompt=40, max_tokens=5), stage.submit(3, prompt=30, max_tokens=9)]
    while len(stage.finished) < 3:
        stage.work(peer)
    assert list(stage.outputs.values()) == [undisturbed(request) for request in (lane, *prompts)]
