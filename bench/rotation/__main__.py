"""`python -m bench.rotation`: rotate this user's running appliance under load, and look what streams notice."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer import Option

from appliance.instance import Instance
from appliance.workload import mix_named
from bench.as_found import left_as_found
from bench.budget import Budget
from bench.endpoint import find_endpoint
from bench.machine import this_machine
from bench.options import BudgetMinutes, MixName, Resume, Scale, Seed, System, Vocabulary, Warmup, explained
from bench.results import Origin
from bench.rotation.block import Block, learn
from bench.rotation.result import RESULTS, RotationConfiguration, RotationResults
from bench.rotation.table import as_rich, summaries
from bench.system_measured import key_for, running_url
from engine.allocation import SMAllocation

PROGRAM = ("python", "-m", "bench.rotation")
SECONDS_A_ROTATION = 5.0
"""What a block is taken to need for each, to see whether the budget allows it."""


def rotation(
    mix: MixName = "azure-conv",
    rate: Annotated[float, Option(min=0.01, help="Requests a second.")] = 12.0,
    rotations: Annotated[int, Option(min=1, help="How many, in all.")] = 50,
    block: Annotated[int, Option(min=1, help="How many between two entries in the results file.")] = 10,
    splits: Annotated[str, Option(help="Rotated to in turn.")] = "50/50,70/30,30/70",
    in_place: Annotated[
        bool, Option("--in-place", help="Let the same processes take splits they have prepared.")
    ] = False,
    calm_seconds: Annotated[float, Option(min=1.0, help="Without rotation at the begin of each block.")] = 20.0,
    rest_seconds: Annotated[float, Option(min=0.0, help="From an old group's end to the next order.")] = 1.0,
    witness_share: Annotated[float, Option(min=0.0, max=1.0, help="Of requests whose answer is known before.")] = 0.5,
    exact: Annotated[
        bool | None, Option("--exact/--no-exact", help="Compare answers token by token; on the CPU if absent.")
    ] = None,
    seed: Seed = 0,
    scale: Scale = 1.0,
    vocabulary: Vocabulary = 8192,
    warmup_seconds: Warmup = 5.0,
    system: System = "semi-pd",
    results: Annotated[Path, Option(help="JSON lines, appended to.")] = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """Rotate to each split in turn, with new processes each time or with the same, while requests stream."""
    instance, machine = Instance.of_user(), this_machine()
    with explained(), left_as_found(instance) as status:
        asked = RotationConfiguration(
            system=system,
            serves=serves(status),
            mix=mix_named(mix).name,
            rate=rate,
            scale=scale,
            seed=seed,
            witness_share=witness_share,
            is_exact=status["device"] == "cpu" if exact is None else exact,
            calm_seconds=calm_seconds,
            rest_seconds=rest_seconds,
            splits=tuple(str(split) for split in splits_in(splits)),
            in_place=in_place,
        )
        file, budget = RotationResults(results), Budget(budget_minutes)
        done = file.done(asked, Origin.now(machine, PROGRAM)) if resume else 0
        url = running_url(instance)
        endpoint = find_endpoint(url, key_for(instance, url))
        known, console = learn(endpoint, asked, vocabulary), Console()
        ladder = splits_in(splits)
        while done < rotations:
            count = min(block, rotations - done)
            needed = warmup_seconds + calm_seconds + count * (rest_seconds + SECONDS_A_ROTATION)
            budget.require(needed, f"{count} more rotations could be made")
            wanted = [ladder[(done + number) % len(ladder)] for number in range(count)]
            origin = Origin.now(machine, PROGRAM)
            file.append(Block(instance, endpoint, asked, known, vocabulary, warmup_seconds, wanted).measure(origin))
            done += count
            console.print(f"{done} of {rotations} rotations")
            console.print(as_rich(summaries([line for line in file.lines if line.configuration == asked])))


def splits_in(text: str) -> list[SMAllocation]:
    """Such as `50/50,70/30`. Raises `ValueError` with a sentence."""
    try:
        pairs = [[int(share) for share in part.split("/")] for part in text.split(",")]
        return [SMAllocation(prefill, decode) for prefill, decode in pairs]
    except ValueError as error:
        raise ValueError(f"The splits {text!r} must be pairs of shares, such as 50/50,70/30: {error}.") from None


def serves(status: dict[str, Any]) -> str:
    """The model, the device and how it is split, in words."""
    return f"{status['model']} on {status['device']} by {status['splitter']}"


if __name__ == "__main__":
    typer.run(rotation)
