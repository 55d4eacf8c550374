"""What each process of the appliance takes of the machine's memory, and whether that grows."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil

from bench.faults.overload_result import Grown
from bench.faults.victim import active_workers


class Taken(NamedTuple):
    """Bytes. `own`: neither a file's nor shared, as the KV pool is, though nobody else maps a page of it that only one
    worker has touched; `pss`: what it shares is divided among those that share it, so that it adds up; `rss`: all."""

    own: int
    pss: int
    rss: int


def processes_of(status: dict[str, Any]) -> dict[str, int]:
    """Name and process id of all that serve, by what the controller says; several of a kind are numbered."""
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
            found[pid] = Taken(_anonymous(pid), memory.pss, memory.rss)
        except (OSError, psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _anonymous(pid: int) -> int:
    """Bytes of `RssAnon`; none for a process that has just ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


class MemoryWatch:
    """Looks at these processes every so many seconds, in a thread of its own, until `stop`."""

    def __init__(self, processes: dict[str, int], every_seconds: float):
        self._processes = processes
        self._every_seconds = every_seconds
        self._looks: dict[str, list[Taken]] = {name: [] for name in processes}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory")
        self._thread.start()

    def stop(self) -> dict[str, Grown]:
        """By name; a process that has ended is not in it."""
        self._is_over.set()
        self._thread.join()
        whole = max(map(len, self._looks.values()))
        return {name: grown(looks) for name, looks in self._looks.items() if len(looks) == whole}

    def _run(self) -> None:
        while not self._is_over.is_set():
            found = taken(self._processes.values())
            for name, pid in self._processes.items():
                self._looks[name] += [found[pid]] if pid in found else []
            self._is_over.wait(self._every_seconds)


def grown(looks: Sequence[Taken]) -> Grown:
    """From the first third of the looks to the last: at least one each."""
    third = max(1, len(looks) // 3)
    first, last = looks[:third], looks[-third:]
    return Grown(_middle(first), _middle(last))


def _middle(looks: Sequence[Taken]) -> tuple[int, int, int]:
    own, pss, rss = (round(median(values)) for values in zip(*looks, strict=True))
    return own, pss, rss
