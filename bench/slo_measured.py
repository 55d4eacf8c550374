"""The simulator beside real runs: for each rate that was measured, the same requests over a box. The H200's is made of
its measures (`bench/measured_box.py`), any other is a file (`bench/slo_step_times.py` writes one).

    python -m bench.slo_measured
    python -m bench.slo_measured --as-profiled      # the profile's speeds as they are
    python -m bench.slo_measured --results RUNS.jsonl --box BOX.json

A prediction is to be within 10 points of the attainment and within 25 % of each p95.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from appliance.simulator.box import Box
from appliance.simulator.comparison import COLOCATED
from appliance.simulator.journal import Journey
from appliance.simulator.result import attainment, latencies
from appliance.simulator.simulation import Simulation
from appliance.slo.profile import Speeds
from appliance.slo.target import SLOTarget
from bench.measured_box import SINCE, UNDER_LOAD, measured_box
from bench.results import RESULTS, Results, RunLine
from bench.runs import arrivals_of
from bench.suite import SHARED, SPLIT
from engine.allocation import SMAllocation

SYSTEMS = (SPLIT.system, SHARED.system)
POINTS, PART = 10.0, 0.25
"""How far a prediction may be off: in attainment, in percent of the requests; in a p95, as a part of it."""


class Seen(NamedTuple):
    """Attained in percent of the requests, latencies in ms."""

    attained: float
    ttft_p50: float
    ttft_p95: float
    tpot_p50: float
    tpot_p95: float


class Compared(NamedTuple):
    """A run as it was measured and as it is simulated."""

    run: RunLine
    measured: Seen
    simulated: Seen

    @property
    def points(self) -> float:
        return self.simulated.attained - self.measured.attained

    @property
    def ttft_part(self) -> float:
        return self.simulated.ttft_p95 / self.measured.ttft_p95 - 1

    @property
    def tpot_part(self) -> float:
        return self.simulated.tpot_p95 / self.measured.tpot_p95 - 1

    @property
    def is_within(self) -> bool:
        return abs(self.points) <= POINTS and max(abs(self.ttft_part), abs(self.tpot_part)) <= PART


def compared(run: RunLine, box: Box) -> Compared:
    """The same mix, rate and seed, from an idle box; requests of the warm-up are not counted."""
    asked = run.configuration
    simulation = Simulation(box, arrivals_of(asked), split_of(run))
    simulation.run()
    counted = [j for j in simulation.journal.journeys.values() if j.arrived_at >= asked.warmup_seconds]
    return Compared(run, measured(run), simulated(counted, target_of(run)))


def target_of(run: RunLine) -> SLOTarget:
    ttft_ms, tpot_ms = run.configuration.targets.ttft_ms, run.configuration.targets.tpot_ms
    assert ttft_ms is not None and tpot_ms is not None, "a run with an attainment has targets"
    return SLOTarget(ttft_ms, tpot_ms)


def simulated(journeys: list[Journey], target: SLOTarget) -> Seen:
    ttft, tpot = latencies(journeys)
    assert ttft is not None and tpot is not None, "a run has answers"
    return Seen(100 * (attainment(journeys, target) or 0.0), ttft.p50, ttft.p95, tpot.p50, tpot.p95)


def measured(run: RunLine) -> Seen:
    found = run.summary
    assert found.attainment is not None and found.ttft_ms is not None and found.tpot_ms is not None
    return Seen(100 * found.attainment, found.ttft_ms.p50, found.ttft_ms.p95, found.tpot_ms.p50, found.tpot_ms.p95)


def split_of(run: RunLine) -> SMAllocation | None:
    """Of `67/33 by green`; None where one worker has both phases."""
    if run.configuration.system == SHARED.system:
        return None
    prefill, decode = run.configuration.split.split()[0].split("/")
    return SMAllocation(int(prefill), int(decode))


def measured_runs(path: Path, on_gpu: bool = True) -> Iterator[RunLine]:
    """Those of one rate with both targets: on an H200, as far as the box is that of their engine, or on a CPU."""
    for line in Results(path).lines:
        if not isinstance(line, RunLine) or ("NVIDIA H200" in line.origin.machine.gpus) != on_gpu:
            continue
        if on_gpu and line.origin.at < SINCE:
            continue
        asked = line.configuration
        if asked.system in SYSTEMS and asked.rate is not None and line.summary.attainment is not None:
            yield line


def as_table(rows: list[Compared]) -> Table:
    table = Table("measured", "split", "req/s", "attained %", "TTFT p50/p95 ms", "TPOT p50/p95 ms", "off by", "within")
    for row in rows:
        asked, pairs = row.run.configuration, list(zip(row.measured, row.simulated, strict=True))
        attained, ttft_p50, ttft_p95, tpot_p50, tpot_p95 = pairs
        table.add_row(
            row.run.origin.at[5:16],
            str(split_of(row.run) or COLOCATED),
            f"{asked.rate:g}",
            "{:.1f} → {:.1f}".format(*attained),
            f"{ttft_p50[0]:.0f}/{ttft_p95[0]:.0f} → {ttft_p50[1]:.0f}/{ttft_p95[1]:.0f}",
            f"{tpot_p50[0]:.1f}/{tpot_p95[0]:.1f} → {tpot_p50[1]:.1f}/{tpot_p95[1]:.1f}",
            f"{row.points:+.1f}, {row.ttft_part:+.0%}, {row.tpot_part:+.0%}",
            "yes" if row.is_within else "no",
        )
    return table


def main(
    results: Annotated[Path, typer.Option(help="The results file.")] = RESULTS,
    box: Annotated[Path | None, typer.Option(help="A CPU's box, for runs on a CPU.")] = None,
    as_profiled: Annotated[bool, typer.Option("--as-profiled", help="At the profile's speeds as they are.")] = False,
) -> None:
    """Measured → simulated, for each run."""
    whole = Box.load(box) if box else measured_box(Speeds(1.0, 1.0) if as_profiled else UNDER_LOAD)
    runs = measured_runs(results, on_gpu=box is None)
    Console(width=150).print(as_table([compared(run, whole.aimed(target_of(run))) for run in runs]))


if __name__ == "__main__":
    typer.run(main)
