"""The near end of a probe: a child process that is given orders and answers them. Knows nothing of what it measures."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.allocation import Phase
from engine.config import PortArgs
from engine.errors import SemiPDError
from engine.process import SUPERVISOR_VARIABLE
from engine.profile.messages import ANSWERS, IMPORTED, Answer, Order

A = TypeVar("A", bound=Answer)

LAST_WORDS_LINES = 12
END_SECONDS = 30.0


class ProbeLost(SemiPDError):
    """A probe ended, or did not answer; the message is a clause that says how."""


class ProbeProcess:
    """Begins to import when it is built. Its standard error is kept in `log_path`."""

    def __init__(self, phase: Phase, ports: PortArgs, log_path: Path, environment: Mapping[str, str]):
        self.phase = phase
        self._log_path = log_path
        self._unread = b""
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "engine.profile", str(ports.runtime_dir), phase],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**environment, SUPERVISOR_VARIABLE: str(os.getpid())},
                process_group=0,
            )
        self._has_imported = False

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def last_words(self) -> str:
        """The end of what it said to a person."""
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-LAST_WORDS_LINES:])

    def send(self, order: Order) -> None:
        """Raises `ProbeLost`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._lost() from None

    def receive(self, kind: type[A], seconds: float) -> A:
        """The answer to the order sent last. Raises `ProbeLost`."""
        deadline = time.monotonic() + seconds
        if not self._has_imported:
            line = self._line(deadline)
            assert line == IMPORTED, line
            self._has_imported = True
        answer = ANSWERS.decode(self._line(deadline))
        assert isinstance(answer, kind), answer
        return answer

    def dismiss(self) -> None:
        """Let it end by itself, with nothing of its own in flight; end it if it does not."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._wait()
        self._process.stdout.close()

    def _line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ProbeLost("its process did not answer in time")
            if not (said := os.read(fd, 1 << 16)):
                raise self._lost()
            self._unread += said
        line, _, self._unread = self._unread.partition(b"\n")
        return line + b"\n"

    def _wait(self) -> int:
        try:
            return self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _lost(self) -> ProbeLost:
        code = self._wait()
        words = self.last_words.splitlines()
        return ProbeLost(f"its process ended with code {code}{f' ({words[-1]})' if words else ''}")
