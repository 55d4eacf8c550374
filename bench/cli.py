"""`semi-pd bench`: what to measure, from the command line. Imports what measures only when it does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace
from rich.console import Console
from typer import Argument, Option

from appliance.workload import mix_named
from bench.budget import Budget
from bench.options import (
    TPOT,
    TTFT,
    ApiKey,
    BudgetMinutes,
    CaFile,
    Clients,
    Even,
    Gap,
    Grace,
    MixName,
    ModelName,
    ResultsFile,
    Resume,
    Scale,
    Seconds,
    Seed,
    Split,
    System,
    TokenIds,
    Url,
    Vocabulary,
    Warmup,
    explained,
)
from bench.plot import Figure
from bench.results import RESULTS, Configuration, Results, RunLine, Step
from bench.summary import Targets
from engine.config import DEMO_MODEL, ServerArgs
from engine.errors import SemiPDError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure any OpenAI-compatible endpoint under load.",
)


@app.command()
def rate(
    mix: MixName,
    rates: Annotated[list[float], Option("--rate", min=0.001, help="Requests a second; may be given several times.")],
    url: Url = None,
    api_key: ApiKey = None,
    model: ModelName = None,
    ca_file: CaFile = None,
    system: System = "semi-pd",
    split: Split = None,
    seconds: Seconds = 60.0,
    warmup_seconds: Warmup = 10.0,
    grace_seconds: Grace = 60.0,
    seed: Seed = 0,
    scale: Scale = 1.0,
    vocabulary: Vocabulary = 8192,
    token_ids: TokenIds = False,
    even: Even = True,
    clients: Clients = 1,
    ttft_ms: TTFT = None,
    tpot_ms: TPOT = None,
    gap_ms: Gap = None,
    results: ResultsFile = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """Send Poisson arrivals at each rate and show what came of it."""
    from bench.measuring import measuring, split_for  # noqa: PLC0415

    with explained():
        asked = Configuration(
            system=system,
            mix=mix_named(mix).name,
            seconds=seconds,
            warmup_seconds=warmup_seconds,
            seed=seed,
            scale=scale,
            vocabulary=vocabulary,
            token_ids=token_ids,
            even=even,
            targets=Targets(ttft_ms, tpot_ms, gap_ms),
        )
        with measuring(url, api_key, model, ca_file, clients, grace_seconds, results, budget_minutes, resume) as bench:
            asked = replace(asked, split=split_for(url, split))
            for each in rates:
                bench.run(replace(asked, rate=each))


@app.command()
def search(
    mix: MixName,
    start_rate: Annotated[float, Option(min=0.01, help="Where the search begins.")] = 4.0,
    resolution: Annotated[float, Option(min=0.001, max=1.0, help="How narrow it ends, as a part of the rate.")] = 0.04,
    goal: Annotated[float, Option(min=0.01, max=1.0, help="The part of the requests to keep the targets.")] = 0.9,
    url: Url = None,
    api_key: ApiKey = None,
    model: ModelName = None,
    ca_file: CaFile = None,
    system: System = "semi-pd",
    split: Split = None,
    seconds: Seconds = 60.0,
    warmup_seconds: Warmup = 10.0,
    grace_seconds: Grace = 60.0,
    seed: Seed = 0,
    scale: Scale = 1.0,
    vocabulary: Vocabulary = 8192,
    token_ids: TokenIds = False,
    even: Even = True,
    clients: Clients = 1,
    ttft_ms: TTFT = None,
    tpot_ms: TPOT = None,
    gap_ms: Gap = None,
    results: ResultsFile = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """Find the highest rate at which enough requests keep the targets."""
    from bench.measuring import measuring, split_for  # noqa: PLC0415
    from bench.rate_search import RateSearch, rounded  # noqa: PLC0415

    with explained():
        targets = Targets(ttft_ms, tpot_ms, gap_ms)
        if not targets:
            raise SemiPDError("A search needs a target: --ttft-ms, --tpot-ms or --gap-ms.")
        asked = Configuration(
            system=system,
            mix=mix_named(mix).name,
            seconds=seconds,
            warmup_seconds=warmup_seconds,
            seed=seed,
            scale=scale,
            vocabulary=vocabulary,
            token_ids=token_ids,
            even=even,
            targets=targets,
        )
        with measuring(url, api_key, model, ca_file, clients, grace_seconds, results, budget_minutes, resume) as bench:
            asked = replace(asked, split=split_for(url, split))
            found = bench.search(asked, RateSearch(rounded(start_rate), resolution), goal)
        highest = "No rate that was tried" if found.highest_rate is None else f"Up to {found.highest_rate:g} req/s"
        typer.echo(f"{highest}: {goal:.0%} of {mix} with {targets}.")


@app.command()
def streams(
    mix: MixName,
    count: Annotated[int, Option("--streams", min=1, help="Requests at once.")],
    rounds: Annotated[int, Option(min=1, help="Rounds that are measured, after one that is not.")] = 3,
    url: Url = None,
    api_key: ApiKey = None,
    model: ModelName = None,
    ca_file: CaFile = None,
    system: System = "semi-pd",
    split: Split = None,
    grace_seconds: Grace = 600.0,
    seed: Seed = 0,
    scale: Scale = 1.0,
    vocabulary: Vocabulary = 8192,
    token_ids: TokenIds = False,
    ttft_ms: TTFT = None,
    tpot_ms: TPOT = None,
    gap_ms: Gap = None,
    results: ResultsFile = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """Send so many requests at once, and again when the last of them has ended."""
    from bench.measuring import measuring, split_for  # noqa: PLC0415

    with explained():
        asked = Configuration(
            system=system,
            mix=mix_named(mix).name,
            seconds=0.0,
            warmup_seconds=0.0,
            seed=seed,
            scale=scale,
            vocabulary=vocabulary,
            token_ids=token_ids,
            targets=Targets(ttft_ms, tpot_ms, gap_ms),
            streams=count,
            rounds=rounds,
        )
        with measuring(url, api_key, model, ca_file, 1, grace_seconds, results, budget_minutes, resume) as bench:
            bench.run(replace(asked, split=split_for(url, split)))


@app.command()
def trace(
    file: Annotated[Path, Argument(help="JSON lines: at_seconds, input_tokens, output_tokens.")],
    url: Url = None,
    api_key: ApiKey = None,
    model: ModelName = None,
    ca_file: CaFile = None,
    system: System = "semi-pd",
    split: Split = None,
    warmup_seconds: Warmup = 0.0,
    grace_seconds: Grace = 60.0,
    vocabulary: Vocabulary = 8192,
    token_ids: TokenIds = False,
    clients: Clients = 1,
    ttft_ms: TTFT = None,
    tpot_ms: TPOT = None,
    gap_ms: Gap = None,
    results: ResultsFile = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """Send the requests of a file at the times that it gives."""
    from bench.measuring import measuring, split_for  # noqa: PLC0415
    from bench.runs import trace_seconds  # noqa: PLC0415

    with explained():
        asked = Configuration(
            system=system,
            mix=f"trace:{file}",
            seconds=trace_seconds(file, warmup_seconds),
            warmup_seconds=warmup_seconds,
            seed=0,
            vocabulary=vocabulary,
            token_ids=token_ids,
            targets=Targets(ttft_ms, tpot_ms, gap_ms),
        )
        with measuring(url, api_key, model, ca_file, clients, grace_seconds, results, budget_minutes, resume) as bench:
            bench.run(replace(asked, split=split_for(url, split)))


@app.command()
def micro(
    model: Annotated[
        Path, Option(help="Model directory, such as `bench shape` makes; weights are random.")
    ] = DEMO_MODEL,
    device: Annotated[str, Option(help="auto, cuda or cpu.")] = "auto",
    batch: Annotated[list[int], Option(min=1, help="Sequences of a decode step.")] = [1, 32, 128, 256],  # noqa: B006
    context: Annotated[list[int], Option(min=2, help="Tokens of each.")] = [768, 2048],  # noqa: B006
    chunk: Annotated[list[int], Option(min=1, help="Tokens of a prefill.")] = [2048, 4096, 8192],  # noqa: B006
    repeats: Annotated[int, Option(min=1, help="Steps of which the median is taken.")] = 20,
    kv_memory_bytes: Annotated[int | None, Option(help="Bytes of the KV cache.")] = None,
    results: ResultsFile = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """Time a model's decode steps and prefills on this machine, beside their floors."""
    from bench.micro_runs import micro_runs  # noqa: PLC0415  imports torch

    with explained():
        steps = [Step("decode", size, tokens) for tokens in context for size in batch]
        steps += [Step("prefill", 1, tokens) for tokens in chunk]
        given = {"model_path": model, "device": device, "kv_memory_bytes": kv_memory_bytes}
        settings = ServerArgs(load_format="dummy", log_level="WARNING", **given)
        micro_runs(settings, steps, repeats, Results(results), Budget(budget_minutes), resume, Console())


@app.command()
def shape(
    directory: Annotated[Path, Argument(help="Where to make the model directory.")],
    name: Annotated[str, Option("--shape", help="llama-8b or tiny.")] = "llama-8b",
) -> None:
    """Make a model directory without weights, to be served with --load-format dummy."""
    from bench.shapes import SHAPES, write_shape  # noqa: PLC0415

    with explained():
        if name not in SHAPES:
            raise SemiPDError(f"There is no shape {name!r}; there are {', '.join(SHAPES)}.")
        write_shape(directory, SHAPES[name])
        typer.echo(f"semi-pd serve --model {directory} --load-format dummy")


@app.command()
def report(
    results: ResultsFile = RESULTS,
    out: Annotated[Path, Option(help="The page to write.")] = Path("bench/README.md"),
) -> None:
    """Make a page of all results."""
    from bench.faults.clients_result import RESULTS as CLIENTS  # noqa: PLC0415
    from bench.faults.clients_result import ClientsResults  # noqa: PLC0415
    from bench.faults.fuzz.result import RESULTS as FUZZ  # noqa: PLC0415
    from bench.faults.fuzz.result import FuzzResults  # noqa: PLC0415
    from bench.faults.overload_result import RESULTS as OVERLOADS  # noqa: PLC0415
    from bench.faults.overload_result import OverloadResults  # noqa: PLC0415
    from bench.faults.result import RESULTS as FAULTS  # noqa: PLC0415
    from bench.faults.result import FaultResults  # noqa: PLC0415
    from bench.faults.soak_result import RESULTS as SOAKS  # noqa: PLC0415
    from bench.faults.soak_result import SoakResults  # noqa: PLC0415
    from bench.report import report as page  # noqa: PLC0415
    from bench.rotation.result import RESULTS as ROTATIONS  # noqa: PLC0415
    from bench.rotation.result import RotationResults  # noqa: PLC0415
    from bench.shift.result import RESULTS as SHIFTS  # noqa: PLC0415
    from bench.shift.result import ShiftResults  # noqa: PLC0415

    with explained():
        rotations = RotationResults(results.parent / ROTATIONS.name)
        shifts = ShiftResults(results.parent / SHIFTS.name)
        faults = FaultResults(results.parent / FAULTS.name)
        clients = ClientsResults(results.parent / CLIENTS.name)
        overloads = OverloadResults(results.parent / OVERLOADS.name)
        fuzz = FuzzResults(results.parent / FUZZ.name)
        soaks = SoakResults(results.parent / SOAKS.name)
        measured = (rotations.lines, shifts.lines, faults.lines, clients.lines)
        more = (overloads.lines, fuzz.lines, soaks.lines)
        out.write_text(page(Results(results).lines, *measured, *more))
        typer.echo(f"{out} is made from {results} and what lies beside it.")


@app.command()
def plot(
    mix: MixName,
    out: Annotated[Path, Option(help="The SVG to write.")],
    figure: Annotated[Figure, Option(help="What to draw over the rate.")] = Figure.ATTAINMENT,
    percentile: Annotated[str, Option(help="p50, p90, p95 or p99, of a latency.")] = "p95",
    results: ResultsFile = RESULTS,
) -> None:
    """Draw a figure over the rate, a line for each system."""
    from bench.plot import curves, svg  # noqa: PLC0415

    with explained():
        if percentile not in ("p50", "p90", "p95", "p99"):
            raise SemiPDError(f"There is no percentile {percentile!r}; there are p50, p90, p95 and p99.")
        drawn = curves(Results(results).of_kind(RunLine), mix, figure, percentile)
        if not drawn:
            raise SemiPDError(f"{results} has no run of {mix} whose {figure} could be drawn.")
        is_part = figure is Figure.ATTAINMENT
        out.write_text(svg(drawn, f"{mix}: {figure}{'' if is_part else f', {percentile}'}", "%" if is_part else "ms"))
        typer.echo(f"{out} is drawn from {results}.")


if __name__ == "__main__":
    app()
