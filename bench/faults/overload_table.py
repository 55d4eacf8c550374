"""An overload in figures: a row each, and one for the memory of each process; for terminal and report alike."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from bench.faults.flood import REFUSALS
from bench.faults.overload_result import Grown, OverloadLine
from bench.summary import Percentiles
from bench.table import digits

POINTS = "p50 / p90 / p95 / p99"


def heading(line: OverloadLine) -> str:
    asked = line.configuration
    return (
        f"{asked.times:g} times what is served, for {asked.minutes:g} minutes: {asked.serves}, "
        f"{asked.gateway_workers} gateway workers, answers of {asked.tokens} tokens, {_who_may_wait(line)}"
    )


def rows(line: OverloadLine) -> list[tuple[str, str]]:
    """What, and how much."""
    asked = line.configuration
    late = line.whole - line.within
    before = sum(line.too_long.get(refusal, 0) for refusal in REFUSALS)
    return [
        ("served a second, of as many as possible", digits(line.served_per_second)),
        ("sent", f"{line.requests:,} requests"),
        ("accepted and answered whole", f"{line.whole:,}"),
        (f"of these not within TTFT ≤ {asked.ttft_ms:g} ms and TPOT ≤ {asked.tpot_ms:g} ms", f"{late:,}"),
        (f"their TTFT, ms, {POINTS}", _points(line.ttft_ms)),
        (f"their TPOT, ms, {POINTS}", _points(line.tpot_ms)),
        ("refused", f"{line.refused:,}"),
        (f"refused after, ms, {POINTS}, longest", f"{_points(line.refusal_ms)}, {digits(line.longest_refusal_ms)}"),
        ("too long for the model: refused before that was seen, of", f"{before:,} of {sum(line.too_long.values()):,}"),
        ("failed otherwise", _counts(line.failures)),
        ("pages in use afterwards", "not served" if line.pages_left is None else str(line.pages_left)),
        ("lag of the client itself, ms, p99", digits(line.late_ms_p99)),
        *((f"{name}: its own memory, PSS, RSS, MiB", _growth(grown)) for name, grown in _shown(line.memory)),
    ]


def as_rich(line: OverloadLine) -> Table:
    table = Table("", "", title=heading(line), show_header=False)
    for cells in rows(line):
        table.add_row(*cells)
    return table


def _shown(memory: dict[str, Grown]) -> Iterable[tuple[str, Grown]]:
    """Spares do nothing meanwhile."""
    return ((name, grown) for name, grown in memory.items() if not name.startswith("spare"))


def _growth(grown: Grown) -> str:
    pairs = zip(grown.first, grown.last, strict=True)
    return ", ".join(f"{first / (1 << 20):.1f} → {last / (1 << 20):.1f}" for first, last in pairs)


def _points(of: Percentiles | None) -> str:
    return "–" if of is None else " / ".join(map(digits, (of.p50, of.p90, of.p95, of.p99)))


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counted.items())) or "0"


def _who_may_wait(line: OverloadLine) -> str:
    seconds = line.configuration.queue_seconds
    return f"{line.queue_limit} may wait" if seconds is None else f"nobody is to wait for more than {seconds:g} s"
