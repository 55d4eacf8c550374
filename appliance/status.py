"""The running appliance's status on a terminal, from what the controller says of itself. Does no I/O but printing."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

KEPT, MISSED, QUIET = "green", "red", "dim"


def status_page(status: dict[str, Any], now: float) -> RenderableType:
    """All of it, from the most general to the most particular. `now`: seconds since the epoch."""
    scheduler = status["scheduler"]
    parts: list[RenderableType] = [headline(status, now), *store_lines(status["store"]), Text("")]
    if scheduler is not None:
        parts += [request_line(scheduler), page_line(scheduler), *memory_lines(status["memory"])]
        parts += [Text(""), worker_table(scheduler["workers"])]
    parts += [Text(""), target_table(status["slo"]), *sentences(status), process_line(status)]
    return Group(*parts)


def headline(status: dict[str, Any], now: float) -> Text:
    """What runs, at which split, and whether it serves."""
    health = status["health"]
    text = Text.assemble(("● ", KEPT if health["healthy"] else MISSED), (status["model"], "bold"))
    text.append(f" on {'the GPU' if status['device'] == 'cuda' else 'the CPU'}")
    if status["started_at"] is not None:
        text.append(f", since {clock(status['started_at'])} ({duration(now - status['started_at'])})")
    if not health["healthy"]:
        return text.append(f"\n  {health['reason']}", MISSED)
    reached = f", reached {status['split_reached']}" if status["split_reached"] else ""
    text.append(f"\n  split {status['split_in_force']} by {status['splitter']}{reached}")
    return text.append(f", {status['split_asked']} is asked for", "yellow") if status["rotating"] else text


def store_lines(store: dict[str, Any] | None) -> list[Text]:
    """Why what happens now is not kept; mostly it is."""
    if store is None or not store["problem"]:
        return []
    lost = f"{store['dropped_samples']} samples were dropped, {store['waiting_records']} records wait"
    return [Text(f"  {store['problem']} ({lost})", MISSED)]


def request_line(scheduler: dict[str, Any]) -> Text:
    counts = ", ".join(f"{scheduler[key]} {words}" for key, words in _COUNTS.items())
    preempted = f"; {scheduler['preemptions']} preempted so far" if scheduler["preemptions"] else ""
    return Text(f"  Requests  {counts}{preempted}")


_COUNTS = {"waiting": "waiting", "prefilling": "in prefill", "decoding": "decoding"}


def page_line(scheduler: dict[str, Any]) -> RenderableType:
    """How full the KV pool is."""
    total, cached = scheduler["total_pages"], scheduler["cached_pages"]
    used = total - scheduler["free_pages"]
    line = Table.grid(padding=(0, 1))
    line.add_row("  KV pages ", ProgressBar(total=max(total, 1), completed=used, width=24), _pages(used, cached, total))
    return line


def _pages(used: int, cached: int, total: int) -> Text:
    return Text(f"{used} of {total} in use, {cached} more kept for prompts that begin alike")


def memory_lines(memory: dict[str, Any]) -> list[Text]:
    """What each group takes of the device's memory, beside what it is given."""
    budget = memory["budget_bytes"]
    given = f" of {_mib(budget)}" if budget is not None else ""
    groups = [f"group {epoch}: {_mib(used)}{given}" for epoch, used in memory["group_bytes"].items()]
    return [Text(f"  Memory    {', '.join(groups)}")] if groups else []


def _mib(nbytes: int) -> str:
    return f"{nbytes >> 20} MiB"


def worker_table(workers: list[dict[str, Any]]) -> Table:
    """One line a worker, those that serve first. Borrowed: the part of its busy time with the whole device."""
    titles = ("slot", "epoch", "phase", "process", "share", "SMs", "steps", "busy", "borrowed")
    table = Table(*titles, box=None, pad_edge=True)
    for worker in sorted(workers, key=lambda worker: (not worker["is_active"], -worker["epoch"], worker["phases"][0])):
        table.add_row(
            f"{worker['slot']}{' (active)' if worker['is_active'] else ''}",
            str(worker["epoch"]),
            " + ".join(worker["phases"]),
            str(worker["pid"]),
            f"{worker['share_percentage']} %",
            str(worker["sm_count"] or "–"),
            str(worker["steps"]),
            f"{worker['busy_seconds']:.1f} s",
            f"{worker['borrowed_part']:.0%}",
            style=None if worker["is_active"] else QUIET,
        )
    return table


def target_table(slo: dict[str, Any]) -> Table:
    """Both targets beside what the window shows, and what one request alone needs."""
    seen = slo["seen"]
    title = f"{seen['samples']} requests in the last {seen['seconds']:g} s; policy {slo['mode']}"
    table = Table("", "target", "p50", "p95", "p99", "alone, at best", box=None, caption=title, caption_justify="left")
    for name, key in (("TTFT ms", "ttft"), ("TPOT ms", "tpot")):
        target, found, alone = slo["target"][f"{key}_target_ms"], seen[f"{key}_ms"], slo["alone"][f"{key}_ms"]
        points = [Text("–")] * 3 if found is None else [_against(value, target) for value in found]
        table.add_row(name, f"{target:g}", *points, "–" if alone is None else f"{alone:.1f}")
    return table


def _against(value: float, target: float) -> Text:
    return Text(f"{value:.1f}", KEPT if value <= target else MISSED)


def sentences(status: dict[str, Any]) -> list[Text]:
    """The latest decision, rotation and loss of a scheduler, in their own words."""
    decision, rotations, losses = status["slo"]["latest_decision"], status["rotations"], status["scheduler_losses"]
    lines = [(decision["decided_at"], decision["sentence"])] if decision else []
    lines += [(rotations[-1]["asked_at"], rotations[-1]["sentence"])] if rotations else []
    lines += [(losses[-1]["at"], losses[-1]["sentence"])] if losses else []
    return [Text(f"  {clock(at)}  {sentence}") for at, sentence in sorted(lines)]


def process_line(status: dict[str, Any]) -> Text:
    named = ", ".join(f"{name} {pid}" for name, pid in status["processes"].items())
    return Text(f"  Processes: {named}", QUIET)


def show_rotations(rotations: list[dict[str, Any]], console: Console) -> None:
    """One line a rotation, the latest last."""
    table = Table("when", "rotation", "ready", "live", "old group gone", "streams")
    for record in rotations:
        durations = (record["ready_seconds"], record["live_seconds"], record["old_gone_seconds"])
        table.add_row(
            clock(record["asked_at"]),
            record["sentence"],
            *("–" if seconds is None else f"{seconds:.2f} s" for seconds in durations),
            record.get("pause") or "–",  # one that a release before this kept says nothing of it
        )
    console.print(table if rotations else "There was no rotation yet.")


def duration(seconds: float) -> str:
    """As a person says it.

    >>> duration(42), duration(3 * 60 + 5), duration(3 * 3600 + 240), duration(50 * 3600)
    ('42 s', '3 min', '3 h 4 min', '2 d 2 h')
    """
    minutes, hours, days = int(seconds) // 60, int(seconds) // 3600, int(seconds) // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


def clock(seconds: float) -> str:
    """A time since the epoch as a person reads it."""
    return time.strftime("%F %T", time.localtime(seconds))
