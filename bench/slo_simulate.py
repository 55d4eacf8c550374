"""What the policy is worth where the load shifts, and whether it keeps still where it does not: simulated.

    python -m bench.slo_simulate shift --out shift.json --plot shift.svg
    python -m bench.slo_simulate steady --hours 24
    python -m bench.slo_simulate shift --box box.json --ttft-ms … --tpot-ms … --code-rate … --reason-rate …

Without `--box` the machine is an estimate of one large GPU with an 8-billion-parameter model, made of the constants
below; figures for it show what the policy does, not what that GPU would.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from appliance.simulator.box import Box
from appliance.simulator.command import as_table
from appliance.simulator.comparison import COLOCATED, POLICY, compare, simulate
from appliance.simulator.plot import as_svg
from appliance.simulator.result import Result
from appliance.simulator.step_times import StepTimes
from appliance.slo.ladder import Ladder
from appliance.slo.profile import Profile, Speeds
from appliance.slo.target import SLOTarget
from appliance.workload import Arrival, draw, mix_named
from engine.allocation import SMAllocation

app = typer.Typer(add_completion=False)

LARGE = Box(
    times=StepTimes.estimated(
        weight_bytes=16e9, kv_bytes_a_token=131_072, flop_a_token=16e9, bandwidth=3.76e12, flops=425e12
    ),
    profile=Profile({SMAllocation(73, 27): Speeds(0.68, 0.48)}, stretches_steps=True),
    pages=28_000,
    max_model_len=40_000,
    max_running_requests=256,
    prefill_token_budget=4096,
)
LADDER = Ladder.in_steps_of(10)
EVEN = SMAllocation(50, 50)


@app.command()
def shift(
    box: Annotated[Path | None, typer.Option(help="A box's JSON file.")] = None,
    ttft_ms: Annotated[float, typer.Option()] = 1500.0,
    tpot_ms: Annotated[float, typer.Option()] = 20.0,
    code_rate: Annotated[float, typer.Option(help="Requests a second while prompts are long.")] = 5.5,
    reason_rate: Annotated[float, typer.Option(help="Requests a second while answers are long.")] = 6.0,
    seconds: Annotated[float, typer.Option(help="How long each half lasts.")] = 600.0,
    seed: Annotated[int, typer.Option()] = 1,
    out: Annotated[Path | None, typer.Option(help="Write everything there, as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it there, as SVG.")] = None,
) -> None:
    """azure-code, then reason: every split, the policy, colocated."""
    target = SLOTarget(ttft_ms, tpot_ms)
    arrivals = one_after_the_other(code_rate, reason_rate, seconds, seed)
    results = compare((Box.load(box) if box else LARGE).aimed(target), arrivals, target, LADDER, EVEN)
    Console(width=140).print(as_table(results))
    typer.echo(comparison_of(results, target))
    if out is not None:
        out.write_text(json.dumps([result.as_dict() for result in results], indent=1) + "\n", "utf-8")
    if plot is not None:
        plot.write_text(as_svg(results, f"azure-code, then reason: {target}"), "utf-8")


@app.command()
def steady(
    box: Annotated[Path | None, typer.Option(help="A box's JSON file.")] = None,
    mix: Annotated[str, typer.Option()] = "azure-conv",
    rate: Annotated[float, typer.Option(help="Requests a second.")] = 2.0,
    hours: Annotated[float, typer.Option()] = 24.0,
    ttft_ms: Annotated[float, typer.Option()] = 1500.0,
    tpot_ms: Annotated[float, typer.Option()] = 20.0,
    seed: Annotated[int, typer.Option()] = 1,
) -> None:
    """A load that does not change: how often does the policy move all the same?"""
    arrivals = draw(mix_named(mix), rate, hours * 3600, seed)
    target = SLOTarget(ttft_ms, tpot_ms)
    result = simulate((Box.load(box) if box else LARGE).aimed(target), arrivals, target, EVEN, LADDER)
    Console(width=140).print(as_table([result]))
    typer.echo(f"{len(result.changes) - 1} changes in {hours:g} h; {speed_of([result])}")
    for at, split in result.changes[1:]:
        typer.echo(f"  {at / 3600:.2f} h: {split}")


def one_after_the_other(code_rate: float, reason_rate: float, seconds: float, seed: int) -> list[Arrival]:
    code = draw(mix_named("azure-code"), code_rate, seconds, seed)
    reason = draw(mix_named("reason"), reason_rate, seconds, seed + 1)
    return code + [arrival._replace(at_seconds=arrival.at_seconds + seconds) for arrival in reason]


def comparison_of(results: list[Result], target: SLOTarget) -> str:
    """The policy beside the best single split, and each half's best."""
    splits = [result for result in results if result.name not in (POLICY, COLOCATED)]
    policy = next(result for result in results if result.name == POLICY)
    best = max(splits, key=lambda result: result.attainment)
    lines = [f"Policy {policy.attainment:.3f}, best split {best.name} {best.attainment:.3f}"]
    if best.attainment:
        lines[0] += f": {policy.attainment / best.attainment:.2f} times."
    spans = len(policy.by_time)
    for half, part in (("first", slice(2, spans // 2)), ("second", slice(spans // 2 + 2, spans))):
        own = _mean(policy.by_time[part])
        winner = max(splits, key=lambda result: _mean(result.by_time[part]))
        lines.append(
            f"Without the first tenth of the {half} half: policy {own:.3f}, "
            f"its best split {winner.name} {_mean(winner.by_time[part]):.3f}."
        )
    return "\n".join([*lines, f"Target: {target}. {speed_of(results)}"])


def speed_of(results: list[Result]) -> str:
    simulated, took = (sum(getattr(result, name) for result in results) for name in ("seconds", "took_seconds"))
    return f"Simulated {simulated:.0f} s in {took:.1f} s, {simulated / took:.0f} times as fast as it would pass."


def _mean(parts: tuple[float | None, ...]) -> float:
    known = [part for part in parts if part is not None]
    return sum(known) / len(known) if known else 0.0


if __name__ == "__main__":
    app()
