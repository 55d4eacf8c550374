"""A shift simulated on the box of the measured H200: each split, the policy and one worker, beside what was measured.

python -m bench.shift.simulated --prompts-rate 12.5 --answers-rate 17 --part-seconds 36 --tpot-ms 22
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table
from typer import Option

from appliance.simulator.box import Box
from appliance.simulator.comparison import simulate
from appliance.simulator.result import Result
from appliance.slo.ladder import Ladder
from appliance.slo.target import SLOTarget
from appliance.workload import mix_named
from bench.measured_box import measured_box
from bench.options import Seed
from bench.rotation.__main__ import splits_in
from bench.shift.load import arrivals_of
from bench.shift.options import TPOT, TTFT, Answers, AnswersRate, PartSeconds, Prompts, PromptsRate, Start
from bench.shift.result import RESULTS, Part, ShiftConfiguration, ShiftLine, ShiftResults


def simulated(
    prompts: Prompts = "azure-code",
    prompts_rate: PromptsRate = 12.5,
    answers: Answers = "reason",
    answers_rate: AnswersRate = 17.0,
    part_seconds: PartSeconds = 36.0,
    start: Start = "80/20",
    ttft_ms: TTFT = 500.0,
    tpot_ms: TPOT = 22.0,
    window_seconds: Annotated[float, Option(help="The policy's window.")] = 15.0,
    cooldown_seconds: Annotated[float, Option(help="The policy's cooldown.")] = 30.0,
    seed: Seed = 0,
    box: Annotated[Path | None, Option(help="Another box, as a JSON file.")] = None,
    results: Annotated[Path, Option(help="Where runs that were measured stand.")] = RESULTS,
) -> None:
    """Say for each split, and for the policy, how many requests would be within the targets, and how many were."""
    heavy = Part(mix_named(prompts).name, prompts_rate, part_seconds)
    light = Part(mix_named(answers).name, answers_rate, part_seconds)
    asked = ShiftConfiguration(
        system="semi-pd",
        serves="",
        parts=(heavy, light, heavy),
        scale=1.0,
        seed=seed,
        ttft_ms=ttft_ms,
        tpot_ms=tpot_ms,
        window_seconds=window_seconds,
        cooldown_seconds=cooldown_seconds,
        start=str(splits_in(start)[0]),
    )
    measured = {line.ruled_by: line for line in ShiftResults(results).lines if is_alike(line, asked)}
    table = Table("ruled by", "simulated", "measured", "the policy's splits")
    for result in runs_of(Box.load(box) if box else measured_box(), asked):
        line = measured.get(result.name)
        moves = ", ".join(f"{split} at {at:.0f} s" for at, split in result.changes) if result.sentences else ""
        table.add_row(result.name, f"{result.attainment:.1%}", f"{line.attainment:.1%}" if line else "–", moves)
    Console(width=120).print(table)


def runs_of(box: Box, asked: ShiftConfiguration) -> Iterator[Result]:
    """Of each split of the box's profile, of the policy, and of one worker for both phases."""
    target = SLOTarget(asked.ttft_ms, asked.tpot_ms)
    told, arrivals = box.aimed(target), arrivals_of(asked.parts, asked.scale, asked.seed)
    ladder = Ladder(list(box.profile.measured)) if box.profile.measured else Ladder.in_steps_of(10)
    pace = {"window_seconds": asked.window_seconds, "cooldown_seconds": asked.cooldown_seconds}
    for split in ladder:
        yield simulate(told, arrivals, target, split)
    yield simulate(told, arrivals, target, splits_in(asked.start)[0], ladder, **pace)
    yield simulate(told, arrivals, target, None)


def is_alike(line: ShiftLine, asked: ShiftConfiguration) -> bool:
    """The same requests under the same rules, on a GPU."""
    there = replace(line.configuration, system=asked.system, serves=asked.serves, start=asked.start)
    return there == asked and bool(line.origin.machine.gpus)


if __name__ == "__main__":
    typer.run(simulated)
