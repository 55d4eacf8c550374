"""The compliance report on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from appliance.slo.percentiles import Percentiles
from appliance.slo.report import Deed, Part, Report

LATEST_DEEDS = 20


def report_page(report: Report, tables: Iterable[str]) -> RenderableType:
    """`tables`: some of "hour" and "split"."""
    shown: list[RenderableType] = [_headline(report)]
    if report.total.requests:
        makers = {"hour": _by_hour, "split": _by_split}
        shown += [makers[table](report) for table in tables]
    return Group(*shown, *_done(report.done))


def _headline(report: Report) -> str:
    when = f"{_clock(report.since)} to {_clock(report.until)}"
    total = report.total
    if total.attainment is None:
        return f"{when}: no requests ended."
    missed = f"; missed: {total.violated}" if total.violated else ""
    return f"{when}: {_percent(total)} of {total.requests} requests kept both targets{missed}."


def _by_hour(report: Report) -> Table:
    table = _table("hour", "done")
    for part in report.by_hour:
        table.add_row(*_cells(part), ", ".join(_counts(report.done_in(part))) or "–")
    return table


def _by_split(report: Report) -> Table:
    table = _table("split", "in force")
    for part in report.by_split:
        table.add_row(*_cells(part), span(part.in_force_seconds))
    return table


def _table(first: str, last: str) -> Table:
    return Table(first, "requests", "kept both", "TTFT p95 ms", "TPOT p95 ms", "missed", last)


def _cells(part: Part) -> tuple[str, ...]:
    return (part.name, str(part.requests), _percent(part), _p95(part.ttft_ms), _p95(part.tpot_ms), part.violated or "–")


def _done(deeds: Sequence[Deed]) -> list[str]:
    if not deeds:
        return ["Nothing was done: no rotation, no other targets."]
    left_out = len(deeds) - LATEST_DEEDS
    more = [f"And {left_out} earlier ones: see --json."] if left_out > 0 else []
    return [*(f"{_clock(deed.at)}  {deed.sentence}" for deed in deeds[-LATEST_DEEDS:]), *more]


def _counts(deeds: Sequence[Deed]) -> list[str]:
    kinds = [deed.kind for deed in deeds]
    return [f"{kinds.count(kind)} {kind}{'s' * (kinds.count(kind) > 1)}" for kind in dict.fromkeys(kinds)]


def _percent(part: Part) -> str:
    return "–" if part.attainment is None else f"{100 * part.attainment:.1f} %"


def _p95(found: Percentiles | None) -> str:
    return "–" if found is None else f"{found.p95:.4g}"


def span(seconds: int) -> str:
    """As a person says it."""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _clock(at: float) -> str:
    return time.strftime("%F %H:%M", time.localtime(at))
