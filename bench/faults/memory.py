"""What each process of the appliance takes of the machine's memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import psutil

from bench.faults.victim import active_workers


class Taken(NamedTuple):
    """Bytes. `pss`: what it shares is divided among those that share it, so that it adds up; `rss`: all of it."""

    pss: int
    rss: int


def processes_of(status: dict[str, Any]) -> dict[str, int]:
    """Name and process id of all that serve, by what the controller says; several of a kind are numbered by the id."""
    processes = {name: pid for name, pid in status["processes"].items() if pid}
    for worker in active_workers(status):
        processes[f"{'+'.join(worker['phases'])} worker"] = worker["pid"]
    for slot, pids in status["spares"].items():
        processes |= {f"spare {slot}{number}": pid for number, pid in enumerate(pids)}
    for number, child in enumerate(psutil.Process(processes["gateway"]).children()):
        processes[f"gateway worker {number}"] = child.pid
    return processes


def taken(pids: Iterable[int]) -> dict[int, Taken]:
    """Of those that run."""
    found = dict[int, Taken]()
    for pid in pids:
        try:
            memory = psutil.Process(pid).memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        found[pid] = Taken(memory.pss, memory.rss)
    return found
