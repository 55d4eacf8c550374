"""Runs as rows: for the terminal and for the report alike."""

from __future__ import annotations

from rich.table import Table

from bench.results import RunLine
from bench.runs import title
from bench.summary import Percentiles

HEADINGS = (
    "work",
    "requests",
    "failed",
    "TTFT ms",
    "TPOT ms",
    "longest gap ms",
    "end to end s",
    "tokens/s",
    "attained",
    "own lag ms",
)
POINTS = "p50 / p90 / p95 / p99"


def row(line: RunLine) -> tuple[str, ...]:
    """One cell for each of `HEADINGS`."""
    summary = line.summary
    return (
        title(line.configuration),
        str(summary.requests),
        failures(summary.failures),
        points(summary.ttft_ms),
        points(summary.tpot_ms) + (f" (tail {summary.tail_tpot_ms:.2f})" if summary.tail_tpot_ms else ""),
        points(summary.gap_ms),
        points(summary.end_to_end_ms, 1 / 1000),
        f"{summary.output_tokens_per_second:.0f}",
        attained(summary.attainment, summary.is_cut_short),
        f"{summary.late_ms_p99:.1f} / {summary.loop_lag_ms_p99:.1f}",
    )


def run_table(lines: list[RunLine]) -> Table:
    table = Table(*HEADINGS, caption=f"Percentiles are {POINTS}. Own lag: in sending / in the event loop, p99.")
    for line in lines:
        table.add_row(*row(line), style=None if line.summary.counts else "dim")
    return table


def points(values: Percentiles | None, factor: float = 1.0) -> str:
    if values is None:
        return "–"
    return " / ".join(digits(value * factor) for value in (values.p50, values.p90, values.p95, values.p99))


def digits(value: float) -> str:
    """Three digits that mean something.

    >>> digits(4.9234), digits(52.31), digits(1234.5)
    ('4.92', '52.3', '1234')
    """
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def failures(kinds: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "0"


def attained(attainment: float | None, is_cut_short: bool) -> str:
    if attainment is None:
        return "–"
    return f"{'at most ' if is_cut_short else ''}{attainment:.1%}"
