"""Tokens for compilers that run at once, shared by several ninjas: GNU make's jobserver, of which a FIFO is all.

Ninja knows it from 1.13 on. An older one runs as many compilers as there are cores, whatever the others do.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMPILER_BYTES = 4 << 30
"""Enough for the largest: 3.3 GiB seen for a file of FA3's, 0.4 GiB for one of FA2's (nvcc 13.0, sm_90a)."""

_FLAGS = "MAKEFLAGS"
_LIMIT = "MAX_JOBS"


def compilers_at_once(cores: int, available_bytes: int, limit: str | None) -> int:
    """`limit`: what MAX_JOBS says, which counts for all together."""
    most = int(limit) if limit and limit.isdecimal() else cores
    return max(1, min(most, available_bytes // COMPILER_BYTES))


def available_bytes() -> int:
    """Memory of the host that can be had without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(kib) * 1024


class JobTokens:
    """Beside one compiler that each ninja may run anyway, ninjas run one for each token they hold."""

    def __init__(self, fifo: int):
        self._fifo = fifo

    def add(self, count: int) -> None:
        os.write(self._fifo, b"+" * count)


@contextmanager
def job_tokens(count: int) -> Iterator[JobTokens]:
    """So many for the ninjas started meanwhile. MAX_JOBS is not seen by them: with a limit of its own, a ninja asks for
    no token."""
    with tempfile.TemporaryDirectory(prefix="semi-pd-jobs-") as folder:
        path = Path(folder) / "jobs"
        os.mkfifo(path, 0o600)
        fifo = os.open(path, os.O_RDWR)
        before = {name: os.environ.pop(name, None) for name in (_FLAGS, _LIMIT)}
        os.environ[_FLAGS] = f"-j{count + 1} --jobserver-auth=fifo:{path}"
        try:
            tokens = JobTokens(fifo)
            tokens.add(count)
            yield tokens
        finally:
            del os.environ[_FLAGS]
            os.environ |= {name: value for name, value in before.items() if value is not None}
            os.close(fifo)
