"""A process beside a measurement, as the one who measures holds it: there when it begins, gone when it is closed."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Self

import msgspec

from engine.errors import SemiPDError

READY = "ready"
"""What the process says, on a line of its own, when all have come; it leaves when its input is closed."""
END_SECONDS = 60.0


class HeldProcess:
    """`python -m MODULE`, told its task as a line of JSON. Returns when it is ready; raises `absent` if it is not, or
    not in `seconds`."""

    def __init__(self, module: str, task: msgspec.Struct, seconds: float, absent: SemiPDError):
        command = [sys.executable, "-m", module]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{msgspec.json.encode(task).decode()}\n")
        self.process.stdin.flush()
        patience = threading.Timer(seconds, self.process.kill)
        patience.start()
        said = self.process.stdout.readline().strip()
        patience.cancel()
        if said != READY:
            self.process.kill()
            self.process.communicate()
            raise absent

    def end(self) -> str | None:
        """What it has said last; None where it failed."""
        said, _ = self.process.communicate(timeout=END_SECONDS)
        return said if self.process.returncode == 0 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
