"""`python -m bench.faults clients`: do clients that leave, stall or say nothing disturb the others?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from rich.console import Console
from typer import Option

from bench.budget import Budget
from bench.faults.box import Box, end_when_asked
from bench.faults.clients_result import RESULTS, ClientsConfiguration, ClientsResults
from bench.faults.clients_table import as_rich, by_load, summaries
from bench.faults.difficult import Kind
from bench.faults.open_files import allow
from bench.faults.pair import Pair
from bench.machine import Machine, this_machine
from bench.options import BudgetMinutes, Resume, Vocabulary, explained
from bench.results import Origin

PROGRAM = ("python", "-m", "bench.faults")
BESIDE_A_ROUND_SECONDS = 45.0
"""What coming and going are taken to need, to see whether the budget allows a pair."""

Kinds = Annotated[list[Kind] | None, Option("--kind", help="One or more; all if absent.")]
Clients = Annotated[int, Option(min=1, help="Of a round.")]


def clients(
    kind: Kinds = None,
    leavers: Clients = 1000,
    readers: Clients = 200,
    slowloris: Clients = 2000,
    idle: Clients = 10000,
    pairs: Annotated[int, Option(min=1, help="Rounds with and without them, of each kind.")] = 6,
    seconds: Annotated[float, Option(min=1.0, help="Of the load in a round.")] = 30.0,
    streams: Annotated[int, Option(min=1, help="Users that read their answers as they are written.")] = 4,
    tokens: Annotated[int, Option(min=2, help="Of each of their answers.")] = 96,
    new_per_second: Annotated[float, Option(min=0.1, help="Short requests that come in new beside them.")] = 8.0,
    gateway_workers: Annotated[int, Option(min=1, max=16, help="Of the appliance that is started.")] = 2,
    running: Annotated[bool, Option("--running", help="Take this user's running appliance, and leave it running.")] = (
        False
    ),
    serve: Annotated[str, Option(help="More options of semi-pd serve for the appliance.")] = "--device cpu",
    vocabulary: Vocabulary = 8192,
    results: Annotated[Path, Option("--results", help="JSON lines, appended to.")] = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """Have clients leave mid-stream, read a byte a second, drip headers or say nothing, and look at the others."""
    counts = {Kind.LEAVERS: leavers, Kind.READERS: readers, Kind.SLOWLORIS: slowloris, Kind.IDLE: idle}
    chosen = {each: count for each, count in counts.items() if each in (kind or Kind)}
    box, machine = Box(None if running else ["--gateway-workers", str(gateway_workers), *serve.split()]), this_machine()
    file, budget = ClientsResults(results), Budget(budget_minutes)
    asked = list[ClientsConfiguration]()
    end_when_asked()
    with explained():
        allow(max(chosen.values()))
        try:
            box.start()
            serves = box.serves
            asked += (
                ClientsConfiguration(each, serves, count, seconds, streams, tokens, new_per_second, gateway_workers)
                for each, count in chosen.items()
            )
            _measure(box, asked, pairs, vocabulary, file, machine, budget, resume)
        finally:
            box.stop()
            for together in by_load(summaries(line for line in file.lines if line.configuration in asked)):
                Console().print(as_rich(together))


def _measure(
    box: Box,
    asked: Sequence[ClientsConfiguration],
    pairs: int,
    vocabulary: int,
    file: ClientsResults,
    machine: Machine,
    budget: Budget,
    resume: bool,
) -> None:
    """Kind by kind, so that a budget that ends early has left some of them whole."""
    for configuration in asked:
        for number in range(file.done(configuration, Origin.now(machine, PROGRAM)) if resume else 0, pairs):
            needed = 2 * (configuration.seconds + BESIDE_A_ROUND_SECONDS)
            budget.require(needed, f"pair {number + 1} of {pairs} with {configuration.kind}")
            file.append(Pair(box, configuration, vocabulary).measure(number, Origin.now(machine, PROGRAM)))
            Console().print(f"{configuration.kind}: {number + 1} of {pairs} pairs")
