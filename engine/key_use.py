"""How often and when each key is used: a small file that all gateway workers share and the controller reads."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

_ENTRY = struct.Struct("=dd")
_BURST_SECONDS = 60.0


class KeyUse:
    """An entry a key: when its requests so far would be worked off at its rate, and when it was used last.

    The first is of the monotonic clock, which all processes of a machine share, the second seconds since the epoch.
    An entry is locked while it is changed, so that workers limit a key as one. (The algorithm is GCRA, ITU-T I.371: a
    minute's requests may come at once, the next when there is room again.)
    """

    def __init__(self, path: Path):
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, number: int, requests_per_minute: int | None, steady: float, now: float) -> float:
        """Count a request; 0.0, or in how many seconds there is room for it, and then it does not count."""
        offset = number * _ENTRY.size
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, _ENTRY.size, offset)
        try:
            worked_off, _ = self._read(offset)
            wait, worked_off = _admitted(worked_off, requests_per_minute, steady)
            os.pwrite(self._descriptor, _ENTRY.pack(worked_off, now), offset)
            return wait
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, _ENTRY.size, offset)

    def last_used_at(self, number: int) -> float | None:
        """Seconds since the epoch; None if it was not."""
        return self._read(number * _ENTRY.size)[1] or None

    def close(self) -> None:
        os.close(self._descriptor)

    def _read(self, offset: int) -> tuple[float, float]:
        entry = os.pread(self._descriptor, _ENTRY.size, offset)
        return _ENTRY.unpack(entry.ljust(_ENTRY.size, b"\0"))


def _admitted(worked_off: float, requests_per_minute: int | None, steady: float) -> tuple[float, float]:
    """The wait, and what is worked off when."""
    if requests_per_minute is None:
        return 0.0, worked_off
    then = max(worked_off, steady) + _BURST_SECONDS / requests_per_minute
    wait = then - steady - _BURST_SECONDS
    return (wait, worked_off) if wait > 1e-9 else (0.0, then)
