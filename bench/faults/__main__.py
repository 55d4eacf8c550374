"""`python -m bench.faults kill` and `stop`: end or stop processes under load, and count what is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace
from rich.console import Console
from typer import Option

from bench.budget import Budget
from bench.faults.block import Block, learn
from bench.faults.box import Box, end_when_asked
from bench.faults.clients import clients
from bench.faults.draw import Draw
from bench.faults.overload import overload
from bench.faults.point import PLACES
from bench.faults.result import RESULTS, FaultConfiguration, FaultResults
from bench.faults.soak import soak
from bench.faults.table import as_rich, summaries
from bench.faults.victim import USUAL, Victim
from bench.machine import this_machine
from bench.options import BudgetMinutes, Resume, Seed, Vocabulary, explained
from bench.results import Origin
from engine.fault_point import FaultPoint

PROGRAM = ("python", "-m", "bench.faults")
SECONDS_A_FAULT = 12.0
"""What a block is taken to need for each, to see whether the budget allows it."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(clients)
app.command()(soak)
app.command()(overload)

Count = Annotated[int, Option(min=1, help="How many, in all.")]
BlockSize = Annotated[int, Option("--block", min=1, help="How many between two entries in the results file.")]
Streams = Annotated[int, Option(min=0, help="Users that read their answers as they are written.")]
Whole = Annotated[int, Option(min=0, help="Users that wait for whole answers.")]
Hasty = Annotated[float, Option(min=0.0, max=1.0, help="Part of the faults after which spares are not waited for.")]
GatewayWorkers = Annotated[int, Option(min=1, max=16, help="Of the appliance that is started.")]
Victims = Annotated[list[Victim] | None, Option("--victim", help="One or more; all but the resident if absent.")]
Points = Annotated[
    list[FaultPoint] | None, Option("--point", help="Where exactly, one or more, in rounds; instead of --victim.")
]
EveryPoint = Annotated[bool, Option("--every-point", help="All of them, in rounds.")]
IsRunning = Annotated[bool, Option("--running", help="Take this user's running appliance, and leave it running.")]
Serve = Annotated[str, Option(help="More options of semi-pd serve for the appliance that is started.")]
ResultsFile = Annotated[Path, Option("--results", help="JSON lines, appended to.")]


@app.command()
def kill(
    kills: Count = 100,
    block: BlockSize = 10,
    streams: Streams = 4,
    whole: Whole = 2,
    hasty: Hasty = 0.25,
    gateway_workers: GatewayWorkers = 2,
    victim: Victims = None,
    point: Points = None,
    every_point: EveryPoint = False,
    running: IsRunning = False,
    serve: Serve = "--device cpu",
    vocabulary: Vocabulary = 8192,
    seed: Seed = 0,
    results: ResultsFile = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """Kill -9 one process after the other, each once the last has been replaced."""
    asked = _configuration(
        "kill", seed, streams, whole, gateway_workers, victim, _points(point, every_point), 0.0, hasty
    )
    _campaign(asked, kills, block, running, serve, vocabulary, results, budget_minutes, resume)


@app.command()
def stop(
    stops: Count = 100,
    hold_seconds: Annotated[float, Option(min=0.1, help="From SIGSTOP to SIGCONT.")] = 6.0,
    block: BlockSize = 10,
    streams: Streams = 4,
    whole: Whole = 2,
    hasty: Hasty = 0.25,
    gateway_workers: GatewayWorkers = 2,
    victim: Victims = None,
    point: Points = None,
    every_point: EveryPoint = False,
    running: IsRunning = False,
    serve: Serve = "--device cpu",
    vocabulary: Vocabulary = 8192,
    seed: Seed = 0,
    results: ResultsFile = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """Stop one process after the other, and let it go on a while later unless the appliance has ended it."""
    asked = _configuration(
        "stop", seed, streams, whole, gateway_workers, victim, _points(point, every_point), hold_seconds, hasty
    )
    _campaign(asked, stops, block, running, serve, vocabulary, results, budget_minutes, resume)


def _configuration(
    kind: str,
    seed: int,
    streams: int,
    whole: int,
    gateway_workers: int,
    victims: list[Victim] | None,
    points: tuple[FaultPoint, ...],
    hold_seconds: float,
    hasty: float,
) -> FaultConfiguration:
    return FaultConfiguration(
        kind=kind,
        serves="",
        seed=seed,
        streams=streams,
        whole=whole,
        gateway_workers=gateway_workers,
        victims=() if points else tuple(map(str, victims or USUAL)),
        hold_seconds=hold_seconds,
        hasty=hasty,
        points=tuple(map(str, points)),
    )


def _points(some: list[FaultPoint] | None, every: bool) -> tuple[FaultPoint, ...]:
    chosen = tuple(PLACES) if every else tuple(some or ())
    if strange := [point for point in chosen if point not in PLACES]:
        raise typer.BadParameter(f"{strange[0]} is not reached in an appliance that is started here.")
    return chosen


def _campaign(
    asked: FaultConfiguration,
    count: int,
    block: int,
    running: bool,
    serve: str,
    vocabulary: int,
    results: Path,
    budget_minutes: float | None,
    resume: bool,
) -> None:
    own = ["--gateway-workers", str(asked.gateway_workers), *serve.split()]
    box, machine, console = Box(None if running else own), this_machine(), Console()
    file, budget = FaultResults(results), Budget(budget_minutes)
    draw = _draw(asked)
    end_when_asked()
    with explained():
        try:
            box.start()
            asked = _serving(asked, box)
            known = learn(box.endpoint, vocabulary, asked.seed)
            done = file.done(asked, Origin.now(machine, PROGRAM)) if resume else 0
            while done < count:
                size = min(block, count - done)
                budget.require(size * SECONDS_A_FAULT, f"{size} more faults could be injected")
                if box.has_ended and not running:
                    box.stop()
                    box.start()
                line = Block(box, asked, known, draw, range(done, done + size)).measure(Origin.now(machine, PROGRAM))
                file.append(line)
                done += len(line.faults)
                console.print(f"{done} of {count}: {line.verdicts}")
        finally:
            box.stop()
            for summed in summaries(line for line in file.lines if line.configuration == asked):
                console.print(as_rich(summed))


def _draw(asked: FaultConfiguration) -> Draw:
    if asked.points:
        return Draw([FaultPoint(point) for point in asked.points], asked.seed, in_rounds=True)
    return Draw([Victim(victim) for victim in asked.victims], asked.seed)


def _serving(asked: FaultConfiguration, box: Box) -> FaultConfiguration:
    """With what is served."""
    return replace(asked, serves=box.serves)


if __name__ == "__main__":
    app()
