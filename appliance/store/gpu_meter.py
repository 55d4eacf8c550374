"""Memory and power of the GPU, once a second, from one `nvidia-smi` that stays."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from typing import NamedTuple

_FIELDS = "memory.used,power.draw,utilization.gpu"


class GpuReading(NamedTuple):
    """Of the whole device; what it does not tell is None. `busy` is from 0 to 1."""

    memory_bytes: int | None
    power_watts: float | None
    busy: float | None

    @classmethod
    def from_line(cls, line: str) -> GpuReading | None:
        """`1234, 310.52, 98`: MiB, W, %; None of a line that is something else."""
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 3:
            return None
        mib, watts, percent = map(_number, fields)
        memory = None if mib is None else int(mib * 2**20)
        return cls(memory, watts, None if percent is None else percent / 100)


class GpuMeter:
    """Reads from `start` to `stop`; if this process is killed, nvidia-smi ends at its next line. `gpu`: index, UUID."""

    def __init__(self, gpu: str, command: str = "nvidia-smi"):
        self._command = [
            command, f"--id={gpu}", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits", "--loop=1",
        ]  # fmt: skip
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self.latest: GpuReading | None = None

    def start(self) -> None:
        """Nothing is measured where there is no nvidia-smi."""
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            self._thread = threading.Thread(target=self._read, name="gpu-meter", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        if self._process is not None and self._thread is not None:
            self._process.terminate()
            self._process.wait()
            self._thread.join()

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.latest = GpuReading.from_line(line)
        self.latest = None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
