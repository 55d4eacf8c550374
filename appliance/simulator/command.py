"""`semi-pd simulate`: a load over a box that need not exist, at every split, under the policy and colocated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from typer import Argument, Option

from appliance.simulator.box import Box
from appliance.simulator.comparison import compare
from appliance.simulator.plot import as_svg
from appliance.simulator.result import Result
from appliance.slo.ladder import Ladder
from appliance.slo.percentiles import Percentiles
from appliance.slo.target import SLOTarget
from appliance.workload import Arrival, draw, mix_named, read_trace
from engine.allocation import SMAllocation


def simulate(
    box: Annotated[Path, Argument(help="JSON file that describes the machine: step times, profile, limits.")],
    mix: Annotated[str, Option(help="What is asked for: a mix by name, or fixed:IN/OUT.")] = "azure-conv",
    trace: Annotated[
        Path | None, Option(help="A file of JSON lines with each request's time instead of a mix.")
    ] = None,
    rate: Annotated[float, Option(help="Requests a second.")] = 1.0,
    seconds: Annotated[float, Option(help="How long requests come.")] = 1200.0,
    seed: Annotated[int, Option(help="The same seed gives the same requests.")] = 0,
    ttft_ms: Annotated[float, Option(help="Target for the first token.")] = 1000.0,
    tpot_ms: Annotated[float, Option(help="Target for those that follow.")] = 50.0,
    step: Annotated[int, Option(help="Percent between two splits of the ladder.")] = 10,
    start: Annotated[int, Option(help="Prefill's share when the policy begins.")] = 50,
    as_json: Annotated[bool, Option("--json", help="As JSON, for programs.")] = False,
    plot: Annotated[Path | None, Option(help="Write a picture (SVG) to this file.")] = None,
) -> None:
    """Foretell how a load would be served at each split, under the policy, and by one worker doing both phases."""
    try:
        machine, arrivals = Box.load(box), arrivals_of(mix, trace, rate, seconds, seed)
        target, ladder = SLOTarget(ttft_ms, tpot_ms), Ladder.in_steps_of(step)
        first = SMAllocation(start, 100 - start)
    except (ValueError, OSError) as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(2) from error
    console = Console(stderr=True)
    with console.status("Simulating …") as progress:
        told = machine.aimed(target)
        results = compare(
            told, arrivals, target, ladder, first, lambda result: progress.update(f"Simulated {result.name} …")
        )
    if plot is not None:
        plot.write_text(as_svg(results, f"{trace or mix}, {rate:g} requests/s: {target}"), "utf-8")
    if as_json:
        typer.echo(json.dumps([result.as_dict() for result in results], indent=2))
    else:
        Console().print(as_table(results))


def arrivals_of(mix: str, trace: Path | None, rate: float, seconds: float, seed: int) -> list[Arrival]:
    """Raises `ValueError`, with one sentence, for a load that cannot be."""
    if trace is not None:
        return read_trace(trace)
    if not (rate > 0 and seconds > 0):
        raise ValueError(f"A rate of {rate:g} a second for {seconds:g} seconds is no load: both must be above 0.")
    return draw(mix_named(mix), rate, seconds, seed)


def as_table(results: list[Result]) -> Table:
    table = Table("run", "requests", "refused", "within SLO", "TTFT p50/p95/p99 ms", "TPOT p50/p95/p99 ms", "changes")
    for result in results:
        table.add_row(
            result.name,
            str(result.requests),
            str(result.refused),
            f"{100 * result.attainment:.1f} %",
            _latencies(result.ttft_ms, 0),
            _latencies(result.tpot_ms, 1),
            str(len(result.changes) - 1),
        )
    return table


def _latencies(found: Percentiles | None, digits: int) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in found) if found else "–"
