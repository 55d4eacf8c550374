"""The last minutes' load once more, at each split and under the policy: `python -m`, from a JSON task to JSON.

A process of its own, since it computes for seconds what nobody else may wait for.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from appliance.recent_load import DecodeSample, PrefillSample, RecentLoad, SeenRequest
from appliance.simulator.box import Box
from appliance.simulator.comparison import simulate
from appliance.simulator.least_squares import nonnegative_least_squares
from appliance.simulator.result import Result
from appliance.simulator.step_times import StepTimes
from appliance.slo.ladder import Ladder
from appliance.slo.profile import Profile
from appliance.slo.target import SLOTarget
from appliance.workload import Arrival
from engine.allocation import SMAllocation

LEAST_REQUESTS = 20
LEAST_SECONDS = 3
POLICY_WINDOWS = 6
MOST_REPEATED = 1500
FIXED_PULL = 0.03
"""Beside what is fitted, whose errors are relative: little where batches differ by a tenth or more."""


class Task(msgspec.Struct, frozen=True):
    """`box`: limits, as fields of `Box`; `profile` as `Profile.as_dict` has it. Splits are texts such as "70/30"."""

    load: RecentLoad
    box: dict[str, Any]
    profile: dict[str, Any]
    ladder: tuple[str, ...]
    in_force: str
    window_seconds: float = 30.0
    cooldown_seconds: float = 60.0
    least_confidence: float = 0.7
    ttft_ms: float = 1000.0
    tpot_ms: float = 100.0


def foretold(task: Task) -> list[Result]:
    """Of each split of the ladder and the one in force, then of the policy from there on.

    Raises `ValueError` where too little was seen.
    """
    return list(_foretold(task))


def box_of(task: Task) -> Box:
    """Raises `ValueError` where too little was seen."""
    load = task.load
    if len(load.requests) < LEAST_REQUESTS or len(load.decode) < LEAST_SECONDS or not load.prefill:
        raise ValueError(
            f"Not enough was served in the last minutes to simulate it: {LEAST_REQUESTS} requests are wanted, and "
            f"{len(load.requests)} came."
        )
    (c0, c1), decode = _fit_prefill(load.prefill), _fit_decode(load.decode)
    longest = max(request.prompt_tokens + request.output_tokens for request in load.requests)
    limits = {**task.box, "max_model_len": max(task.box["max_model_len"] or 0, longest)}
    return Box(
        times=StepTimes(c0, c1, 0.0, *decode),
        profile=Profile.of(task.profile),
        ttft_target_ms=task.ttft_ms,
        tpot_target_ms=task.tpot_ms,
        **limits,
    )


def _foretold(task: Task) -> Iterator[Result]:
    box, target = box_of(task), SLOTarget(task.ttft_ms, task.tpot_ms)
    arrivals, ladder = _arrivals(task.load.requests), Ladder([_split(rung) for rung in task.ladder])
    start = _split(task.in_force)
    for split in sorted({*ladder, start}, key=lambda split: split.prefill_percentage):  # shares may overlap: no rung
        yield simulate(box, arrivals, target, split)
    pace = {name: getattr(task, name) for name in ("window_seconds", "cooldown_seconds", "least_confidence")}
    again = _repeated(arrivals, POLICY_WINDOWS * task.window_seconds)
    yield simulate(box, again, target, start, ladder, **pace)


def _fit_prefill(samples: Sequence[PrefillSample]) -> list[float]:
    """A step's time and a token's. What seconds that are much alike do not tell apart is held to be the tokens'."""
    return _fit([[one.steps / one.seconds, one.tokens / one.seconds] for one in samples], pulled=[0])


def _fit_decode(samples: Sequence[DecodeSample]) -> list[float]:
    """What steps that are much alike do not tell apart is held to be the same for every step, as reading weights is."""
    rows = [[part / one.seconds for part in (1.0, one.batch, one.context)] for one in samples if one.seconds > 0]
    return _fit(rows, pulled=[1, 2])


def _fit(rows: Sequence[Sequence[float]], pulled: Sequence[int]) -> list[float]:
    """What each column costs, such that every row comes to 1; those of `pulled` columns as little as the rows allow."""
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    pull = FIXED_PULL * math.sqrt(len(rows))
    towards_nothing = [[pull * mean * (at == column) for at, mean in enumerate(means)] for column in pulled]
    wanted = [1.0] * len(rows) + [0.0] * len(towards_nothing)
    return [float(value) for value in nonnegative_least_squares([*rows, *towards_nothing], wanted)]


def _arrivals(requests: Sequence[SeenRequest]) -> list[Arrival]:
    return [Arrival(one.at_seconds, one.prompt_tokens, max(1, one.output_tokens)) for one in requests]


def _repeated(arrivals: list[Arrival], seconds: float) -> list[Arrival]:
    """Over and over, so that the policy has windows enough to act in."""
    span = arrivals[-1].at_seconds * len(arrivals) / (len(arrivals) - 1) or 1.0
    times = min(math.ceil(seconds / span), max(1, MOST_REPEATED // len(arrivals)))
    return [one._replace(at_seconds=one.at_seconds + span * i) for i in range(times) for one in arrivals]


def _split(text: str) -> SMAllocation:
    return SMAllocation(*map(int, text.split("/")))


def main() -> None:
    os.nice(19)
    try:
        results = [result.as_dict() for result in foretold(msgspec.json.decode(sys.stdin.buffer.read(), type=Task))]
        answer: dict[str, Any] = {"problem": "", "results": results}
    except ValueError as problem:
        answer = {"problem": str(problem), "results": []}
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
