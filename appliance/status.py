"""The running appliance's status on a terminal."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.table import Table


def show_status(status: dict[str, Any], console: Console) -> None:
    """A few lines and a table, from what the controller says of itself."""
    scheduler = status["scheduler"]
    if scheduler is None:
        console.print("The scheduler does not answer.")
        return
    used = scheduler["total_pages"] - scheduler["free_pages"]
    state = f"Split {status['split_in_force']} by {status['splitter']}" if scheduler["ready"] else "Not ready"
    console.print(
        f"{state}: {scheduler['decoding']} decoding, {scheduler['prefilling']} in prefill, {scheduler['waiting']} "
        f"waiting; {used} of {scheduler['total_pages']} KV pages in use."
    )
    table = Table("slot", "epoch", "phase", "process", "share", "SMs", "steps", "busy")
    for worker in sorted(scheduler["workers"], key=lambda worker: (-worker["epoch"], worker["phases"])):
        table.add_row(
            f"{worker['slot']}{' (active)' if worker['is_active'] else ''}",
            str(worker["epoch"]),
            " + ".join(worker["phases"]),
            str(worker["pid"]),
            f"{worker['share_percentage']} %",
            str(worker["sm_count"] or "–"),
            str(worker["steps"]),
            f"{worker['busy_seconds']:.1f} s",
        )
    console.print(table)


def show_rotations(rotations: list[dict[str, Any]], console: Console) -> None:
    """One line a rotation, the latest last."""
    table = Table("when", "rotation", "ready", "live", "old group gone")
    for record in rotations:
        durations = (record["ready_seconds"], record["live_seconds"], record["old_gone_seconds"])
        table.add_row(
            clock(record["asked_at"]),
            record["sentence"],
            *("–" if seconds is None else f"{seconds:.2f} s" for seconds in durations),
        )
    console.print(table if rotations else "There was no rotation yet.")


def clock(seconds: float) -> str:
    """A time since the epoch as a person reads it."""
    return time.strftime("%F %T", time.localtime(seconds))
