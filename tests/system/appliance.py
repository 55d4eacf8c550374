"""A real appliance for a test: `semi-pd serve` as a user starts it, in a home of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil

START_SECONDS = 300.0
"""On a GPU whose kernels are not built yet, the first start builds them."""
STOP_SECONDS = 60.0
BY_HAND = ("--policy", "manual", "--console-port", "0")


def unused_port() -> int:
    """A TCP port on the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ServeProcess:
    """`semi-pd serve` with its terminal output; `home` stands for the user. Only the test moves the split.

    `wrapper` is a program that becomes it, with that program's own arguments.
    """

    def __init__(self, home: Path, *options: str, device: str = "cpu", wrapper: Sequence[str] = ()):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
        self.environment = {**inherited, "HOME": str(home)}
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-m", "appliance", "serve", "--device", device, *BY_HAND, *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        self._served = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_until_served(self) -> None:
        assert self._served.wait(START_SECONDS), f"not served after {START_SECONDS} s:\n{self.output}"
        assert "Ctrl-C" in self.output, self.output

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(STOP_SECONDS)
        self._reader.join()
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if "Ctrl-C" in line:
                self._served.set()
        self._served.set()
        self.process.stdout.close()


class Appliance:
    """A served appliance and a client for it."""

    def __init__(self, serve: ServeProcess):
        self.serve = serve
        self.url = found(r"REST endpoint\s+(\S+)/v1", serve.output)
        self.api_key = found(r"API key\s+(\S+)", serve.output)
        self.model = found(r'"model": "([^"]+)"', serve.output)
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.api_key}"}, timeout=120.0, trust_env=False
        )

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """The answer to a request for this model."""
        answer = self.client.post(path, json={"model": self.model, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    @property
    def health(self) -> dict[str, Any]:
        return self.client.get("/health").json()

    @property
    def pages_in_use(self) -> int:
        """Once it is at rest; what the last step gave back may be told a moment after its tokens."""
        deadline = time.monotonic() + 10.0
        while (in_use := self._pages_in_use_now) and time.monotonic() < deadline:
            time.sleep(0.05)
        return in_use

    @property
    def _pages_in_use_now(self) -> int:
        health = self.health
        return health["total_pages"] - health["free_pages"]

    @property
    def status(self) -> dict[str, Any]:
        """What `semi-pd status --json` says."""
        command = [sys.executable, "-m", "appliance", "status", "--json"]
        said = subprocess.run(command, env=self.serve.environment, capture_output=True, check=True)
        return json.loads(said.stdout)

    def processes(self, module: str) -> list[psutil.Process]:
        """The processes below it that run `python -m MODULE`."""
        below = psutil.Process(self.serve.process.pid).children(recursive=True)
        return [process for process in below if module in process.cmdline()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.client.close()
        if self.serve.process.poll() is None:
            self.serve.interrupt()
        code = self.serve.end()
        if error is None:
            assert code == 0, self.serve.output


@contextmanager
def running_appliance(home: Path, *options: str, device: str = "cpu") -> Iterator[Appliance]:
    """An appliance on a free port; stopped by Ctrl-C at the end."""
    serve = ServeProcess(home, "--port", str(unused_port()), *options, device=device)
    try:
        serve.wait_until_served()
        with Appliance(serve) as appliance:
            yield appliance
    finally:
        if serve.process.poll() is None:
            serve.process.kill()


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, f"no {pattern} in:\n{text}"
    return match[1]
