"""Child processes of this one: for `semi-pd serve`, tests and containers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.process import SUPERVISOR_VARIABLE

LAST_WORDS_LINES = 12


@dataclass(eq=False)
class Child:
    """A process with a name, its own process group, and a log file that takes its standard error."""

    name: str
    process: subprocess.Popen[bytes]
    log_path: Path
    pidfd: int

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self.process.poll()

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-LAST_WORDS_LINES:])

    @property
    def end(self) -> str:
        """How it ended, in a sentence."""
        code = self.process.wait()
        how = f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        return f"The {self.name} process {how}."

    @property
    def obituary(self) -> str:
        """How it ended, and what it said last."""
        return f"{self.end} The last lines of {self.log_path}:\n{self.last_words}"

    def terminate(self) -> None:
        """Ask it to drain and exit."""
        self.process.terminate()

    def wait(self, seconds: float) -> bool:
        """True if it has ended within `seconds`."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it and everything it started, now."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.process.wait()


class LocalSupervisor:
    """Starts `python -m MODULE …` as children that end when this process does."""

    def __init__(self, log_dir: Path, environment: Mapping[str, str]):
        self._log_dir = log_dir
        self._environment = dict(environment)
        self.children: dict[str, Child] = {}

    def start(self, name: str, module: str, *arguments: str, **environment: str) -> Child:
        """Start a process, or another of a name whose process has ended; its log begins anew."""
        log_path = self._log_dir / f"{name}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self._environment, **environment, SUPERVISOR_VARIABLE: str(os.getpid())},
                process_group=0,
            )
        if name in self.children:
            os.close(self.children[name].pidfd)
        child = Child(name, process, log_path, os.pidfd_open(process.pid))
        self.children[name] = child
        return child

    def kill_all(self) -> None:
        """The last resort, and harmless where nothing is left."""
        for child in reversed(self.children.values()):
            child.kill()
