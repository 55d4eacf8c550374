"""What a disk may hold after the power went, given what was noted of it. Pure: operations and dice in, files out.

What was synced is there. Of everything since, each write is there, not there, or torn: some of its sectors are there
and others are not, whatever became of the writes before and after it. A file that was made may be gone, one that was
deleted may be back, as long as the directory was not synced.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from tests.store.recorded_disk import (
    Acknowledged,
    Created,
    Deleted,
    DirectorySynced,
    Operation,
    Synced,
    Truncated,
    Written,
)

SECTOR = 512


@dataclass
class _File:
    kept: bytearray = field(default_factory=bytearray)
    since_sync: list[Written | Truncated] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.since_sync:
            _apply(self.kept, change)
        self.since_sync.clear()

    def after_cut(self, dice: Random) -> bytes:
        content = bytearray(self.kept)
        for change in self.since_sync:
            fate = dice.choice(("kept", "lost", "torn"))
            if fate == "torn" and isinstance(change, Written):
                for part in _sectors(change):
                    if dice.random() < 0.5:
                        _apply(content, part)
            elif fate != "lost":
                _apply(content, change)
        return bytes(content)


class Disk:
    """Takes operations one after another; a cut may come after any of them and changes nothing here."""

    def __init__(self) -> None:
        self.acknowledged: list[object] = []
        self._now: dict[str, _File] = {}
        self._kept_names: dict[str, _File] = {}
        """What the directory has on the disk; `_now` is what programs see."""

    def take(self, operation: Operation) -> None:
        match operation:
            case Created(name):
                self._now[name] = _File()
            case Deleted(name):
                self._now.pop(name, None)
            case Written(name) | Truncated(name):
                self._now[name].since_sync.append(operation)
            case Synced(name):
                self._now[name].sync()
            case DirectorySynced():
                self._kept_names = dict(self._now)
            case Acknowledged(what):
                self.acknowledged.append(what)

    def after_cut(self, dice: Random) -> dict[str, bytes]:
        """The files there are, by name."""
        files: dict[str, bytes] = {}
        for name in sorted(self._now.keys() | self._kept_names.keys()):
            now, kept = self._now.get(name), self._kept_names.get(name)
            file = now if now is kept else dice.choice((now, kept))
            if file is not None:
                files[name] = file.after_cut(dice)
        return files


def cuts(operations: list[Operation], count: int, dice: Random) -> Iterable[tuple[dict[str, bytes], list[object]]]:
    """`count` random cuts: the files, and what had been acknowledged."""
    disk, at = Disk(), 0
    for cut in sorted(dice.randrange(len(operations) + 1) for _ in range(count)):
        for operation in operations[at:cut]:
            disk.take(operation)
        at = cut
        yield disk.after_cut(dice), list(disk.acknowledged)


def _apply(content: bytearray, change: Written | Truncated) -> None:
    if isinstance(change, Truncated):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
    else:
        end = change.offset + len(change.data)
        content.extend(bytes(max(0, end - len(content))))
        content[change.offset : end] = change.data


def _sectors(change: Written) -> Iterable[Written]:
    """Its parts, each within one sector of the disk."""
    begin = change.offset
    end = begin + len(change.data)
    while begin < end:
        until = min(end, begin - begin % SECTOR + SECTOR)
        yield Written(change.name, begin, change.data[begin - change.offset : until - change.offset])
        begin = until
