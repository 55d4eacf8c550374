"""What an appliance takes of the machine when it has nothing to do, by the kind of its processes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import psutil

OTHERS = "other"


class Footprint(msgspec.Struct, frozen=True):
    """Of all processes of a kind. `private_bytes`: memory of no file, so that the KV pool, which is bounded, is not in
    it. In results before 2026-11-30 19:30 it is what no other process had touched, which some of the pool is."""

    processes: int
    private_bytes: int
    files: int
    threads: int


def footprints(root: int) -> dict[str, Footprint]:
    """Of process `root`, which goes by "controller", and all below it, by the module that each runs."""
    found = dict[str, Footprint]()
    for process in _tree(root):
        try:
            own = Footprint(1, anonymous_bytes(process.pid), process.num_fds(), process.num_threads())
            kind = "controller" if process.pid == root else kind_of(process.cmdline())
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue
        found[kind] = _sum(found.get(kind), own)
    return dict(sorted(found.items()))


def anonymous_bytes(pid: int) -> int:
    """What a process has in memory that is no file's. 0 for one that has ended and is not yet waited for."""
    words = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(words.get("RssAnon", "0 kB").split()[0]) * 1024


def kind_of(command: list[str]) -> str:
    """The module of `python -m MODULE …`."""
    return command[command.index("-m") + 1] if "-m" in command[:-1] else OTHERS


def _tree(root: int) -> Iterable[psutil.Process]:
    process = psutil.Process(root)
    return [process, *process.children(recursive=True)]


def _sum(one: Footprint | None, other: Footprint) -> Footprint:
    if one is None:
        return other
    return Footprint(
        one.processes + other.processes,
        one.private_bytes + other.private_bytes,
        one.files + other.files,
        one.threads + other.threads,
    )
