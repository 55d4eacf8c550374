"""`python -m bench.faults.fuzz`: made-up requests, tenants' traces and made-up input for parsers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from typer import Option

from bench.budget import Budget
from bench.faults.box import Box, end_when_asked
from bench.faults.fuzz.parsers import Parsers, made_by
from bench.faults.fuzz.result import RESULTS, FuzzConfiguration, FuzzLine, FuzzResults
from bench.faults.fuzz.table import as_rich
from bench.machine import this_machine
from bench.options import BudgetMinutes, Resume, Seed, explained
from bench.results import Origin

PROGRAM = ("python", "-m", "bench.faults.fuzz")
CORES = os.cpu_count() or 1
ROUND_SECONDS = 120.0
"""What a round is taken to need before one has been seen."""
TARGET_NAMES = ("checkpoint", "template", "schema", "request", "answer", "stream")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Cases = Annotated[int, Option(min=1, help="How many, in all.")]
Processes = Annotated[int, Option(min=1, help="Side by side.")]
GatewayWorkers = Annotated[int, Option(min=1, max=16, help="Of the appliance that is started.")]
Serve = Annotated[str, Option(help="More options of semi-pd serve for the appliance that is started.")]
ResultsFile = Annotated[Path, Option("--results", help="JSON lines, appended to.")]
Round = Callable[[int, Origin, int], FuzzLine]

console = Console()


@app.command()
def requests(
    cases: Cases = 100_000,
    processes: Processes = CORES,
    gateway_workers: GatewayWorkers = 2,
    serve: Serve = "--device cpu",
    seed: Seed = 0,
    results: ResultsFile = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """Requests made up from the OpenAPI document, good and bad, to a whole appliance."""
    from bench.faults.fuzz.requests import Requests  # noqa: PLC0415  imports schemathesis

    with explained(), _serving(gateway_workers, serve) as box:
        asked = FuzzConfiguration("requests", box.serves, f"schemathesis {metadata.version('schemathesis')}", seed)
        part = Requests(box, asked, processes)
        one = lambda number, origin, most: part.round(number, origin, most, _say)  # noqa: E731
        is_well = _rounds(asked, cases, one, results, budget_minutes, resume)
    _end(is_well)


@app.command()
def traces(
    cases: Cases = 20_000,
    gateway_workers: GatewayWorkers = 2,
    serve: Serve = "--device cpu",
    seed: Seed = 0,
    results: ResultsFile = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """Valid requests of several tenants at once, each with a word that no other tenant may ever be shown."""
    from bench.faults.fuzz.replay import Replay, Tenants  # noqa: PLC0415  imports httpx, which the tests install

    with explained(), _serving(gateway_workers, serve) as box:
        asked = FuzzConfiguration("tenants' traces", box.serves, "seed", seed)
        part = Replay(box, asked, Tenants(box))
        one = lambda number, origin, _: part.round(number, origin, _say)  # noqa: E731
        is_well = _rounds(asked, cases, one, results, budget_minutes, resume)
    _end(is_well)


@app.command()
def parsers(
    target: Annotated[
        list[str] | None, Option(help=f"One or more of {', '.join(TARGET_NAMES)}; all if absent.")
    ] = None,
    cases: Cases = 1_000_000,
    inputs: Annotated[int, Option(min=1, help="Of a process in a round.")] = 20_000,
    processes: Processes = CORES,
    folder: Annotated[Path, Option(help="For what finds something, and what is worth trying again.")] = Path(
        ".artifacts/fuzz"
    ),
    seed: Seed = 0,
    results: ResultsFile = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """Checkpoints, templates, schemas, bodies, models' own words and streams, so many of each."""
    with explained():
        if strange := [name for name in target or () if name not in TARGET_NAMES]:
            raise typer.BadParameter(f"There is no parser {strange[0]!r}; there are {', '.join(TARGET_NAMES)}.")
        is_well = True
        for name in target or TARGET_NAMES:
            asked = FuzzConfiguration(f"parser {name}", "", made_by(), seed)
            part = Parsers(name, asked, processes, folder)
            each = lambda number, origin, _, part=part: part.round(number, origin, inputs, _say)  # noqa: E731
            is_well &= _rounds(asked, cases, each, results, budget_minutes, resume)
    _end(is_well)


def _rounds(
    asked: FuzzConfiguration, cases: int, one: Round, results: Path, budget_minutes: float | None, resume: bool
) -> bool:
    """Returns whether nothing was found."""
    file, budget, machine = FuzzResults(results), Budget(budget_minutes), this_machine()
    known = file.done(asked, Origin.now(machine, PROGRAM)) if resume else []
    done, number, seconds = sum(line.cases for line in known), len(known), ROUND_SECONDS
    try:
        while done < cases:
            budget.require(seconds, f"{cases - done} more cases could be tried")
            line = one(number, Origin.now(machine, PROGRAM), cases - done)
            file.append(line)
            done, number, seconds = done + line.cases, number + 1, line.seconds
            console.print(f"{asked.kind}: {done:,} of {cases:,}, {len(line.problems)} problems in this round")
    finally:
        if mine := [line for line in file.lines if line.configuration == asked]:
            console.print(as_rich(mine))
    return not any(line.problems for line in file.lines if line.configuration == asked)


def _end(is_well: bool) -> None:
    sys.exit(0 if is_well else 1)


def _serving(gateway_workers: int, serve: str) -> Box:
    end_when_asked()
    return Box(["--gateway-workers", str(gateway_workers), *serve.split()])


def _say(problem: str) -> None:
    console.print(escape(problem), style="red")


if __name__ == "__main__":
    app()
