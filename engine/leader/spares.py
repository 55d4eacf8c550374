"""Worker processes that have imported everything and wait; starting a group then takes no import."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from engine.config import PortArgs
from engine.wire.to_worker import Assignment


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

    def schedule(self, policy: int) -> None:
        """Batch while it imports, other once it works: unlike niceness, that can be taken back without privilege."""
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(self.pid, policy, os.sched_param(0))

    def assign(self, assignment: Assignment) -> None:
        """Turn the spare into a worker; one that is still importing reads its assignment when it is done.

        Raises `BrokenPipeError` if it has ended.
        """
        assert self.process.stdin is not None
        self.schedule(os.SCHED_OTHER)
        self.process.stdin.write(msgspec.json.encode(assignment) + b"\n")
        self.process.stdin.close()

    def dismiss(self) -> None:
        """Let a spare that has no assignment exit by itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()


def start_spare(ports: PortArgs, urgent: bool, environment: Mapping[str, str] | None = None) -> Spare:
    """A new process that begins to import; `urgent` where a group waits for it, otherwise it yields.

    `environment` is added to this process's own.
    """
    command = [sys.executable, "-m", "engine.worker", str(ports.runtime_dir)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **(environment or {})}
    )
    spare = Spare(process)
    if not urgent:
        spare.schedule(os.SCHED_BATCH)
    return spare
