"""A file system for SQLite that notes, in order, what reaches the disk: writes, lengths, syncs, files made and gone.

It passes everything on to the real one. What was noted is what a power cut may lose or tear: see `power_cut.py`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import apsw

_SYNCS_ITS_DIRECTORY = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
"""SQLite's unix file system syncs the directory with the first sync of such a file, if it has made it."""


class Created(NamedTuple):
    name: str


class Deleted(NamedTuple):
    name: str


class Written(NamedTuple):
    name: str
    offset: int
    data: bytes


class Truncated(NamedTuple):
    name: str
    size: int


class Synced(NamedTuple):
    name: str


class DirectorySynced(NamedTuple):
    """Files that were made or deleted stay so."""


class Acknowledged(NamedTuple):
    """Somebody was told that this is kept."""

    what: Any


Operation = Created | Deleted | Written | Truncated | Synced | DirectorySynced | Acknowledged


class RecordedDisk(apsw.VFS):
    """`has_syncs=False` is a disk that lies: it says that it has synced, and has not."""

    def __init__(self, name: str, has_syncs: bool = True):
        self.name = name
        self.has_syncs = has_syncs
        self.operations: list[Operation] = []
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _RecordedFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self.operations.append(Deleted(Path(filename).name))
        if syncdir and self.has_syncs:
            self.operations.append(DirectorySynced())


class _RecordedFile(apsw.VFSFile):
    def __init__(self, disk: RecordedDisk, name: Any, flags: list[int]):
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        is_new = path is not None and not os.path.exists(path)
        self._disk = disk
        self._name = Path(path).name if path is not None else ""  # a file without a name is gone with its process
        self._syncs_directory = is_new and bool(flags[0] & _SYNCS_ITS_DIRECTORY)
        super().__init__("", name, flags)
        if is_new and self._name:
            disk.operations.append(Created(self._name))

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._note(Written(self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._note(Truncated(self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        if not self._disk.has_syncs:
            return
        self._note(Synced(self._name))
        if self._syncs_directory:
            self._note(DirectorySynced())
            self._syncs_directory = False

    def _note(self, operation: Operation) -> None:
        if self._name:
            self._disk.operations.append(operation)
