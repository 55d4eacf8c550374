"""Worker processes that have imported everything and wait; starting a group then takes no import."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

import msgspec

from engine.config import PortArgs
from engine.wire.to_worker import Assignment

LOW_PRIORITY = 10


@dataclass(eq=False)
class Spare:
    """`is_ready` once it has said on its standard output that the imports are done."""

    process: subprocess.Popen[bytes]
    is_ready: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output_fd(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def read_output(self) -> bool:
        """Take what the spare has said; False at the end of its output, when the process is ending."""
        said = os.read(self.output_fd, 64)
        self.is_ready = self.is_ready or bool(said)
        return bool(said)

    def assign(self, assignment: Assignment) -> None:
        """Turn the spare into a worker; one that is still importing reads its assignment when it is done."""
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(assignment) + b"\n")
        self.process.stdin.close()

    def dismiss(self) -> None:
        """Let a spare that has no assignment exit by itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()


def start_spare(ports: PortArgs, urgent: bool) -> Spare:
    """A new process that begins to import; `urgent` where a group waits for it, otherwise at low priority."""
    command = [sys.executable, "-m", "engine.worker", str(ports.runtime_dir)]
    if not urgent:
        command = ["nice", "-n", str(LOW_PRIORITY), *command]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return Spare(process)
