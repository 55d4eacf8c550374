"""The appliance under test: started as a user starts it, with a state of its own, or the user's running one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from appliance.control.client import Conversation, NotRunning
from appliance.control.messages import AskStatus
from appliance.instance import Instance
from bench.endpoint import Endpoint, find_endpoint
from bench.faults.point import Trap
from bench.faults.victim import Victim, candidates
from engine.errors import SemiPDError
from engine.fault_point import VARIABLE
from engine.kernel_cache import FLASHINFER_FOLDER, KernelCache

START_SECONDS = 300.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.02
QUIET_SECONDS = 10.0
"""How long the last pages may take to come back once nobody asks."""
PROBE_SECONDS = 2.0


def end_when_asked() -> None:
    """TERM ends this process as an error would: not without what was started here."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Asked to end."))


class Box:
    """`options` are those of `semi-pd serve`; None stands for the appliance of this user, which is left running.

    `first`: a `semi-pd` command before it starts, whose state it finds.
    """

    def __init__(self, options: Sequence[str] | None, first: Sequence[str] = ()):
        self._options = options
        self._first = first
        self._process: subprocess.Popen[bytes] | None = None
        self._home: Path | None = None
        self.instance = Instance.of_user()

    def start(self) -> None:
        """Serve when this returns. Raises `SemiPDError` with what was said where it does not, `CalledProcessError`
        where the command before it fails."""
        if self._options is None:
            return
        self._home = Path(tempfile.mkdtemp(prefix="spd-"))
        self.instance = Instance(self._home / "semi-pd")
        if self._first:
            self.call(*self._first)
        ports = ("--port", str(_unused_port()), "--console-port", str(_unused_port()))
        command = [sys.executable, "-m", "appliance", "serve", "--policy", "manual", *ports, *self._options]
        self._points.mkdir()
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(command, env=self._environment, stdout=said, stderr=said)
        deadline = time.monotonic() + START_SECONDS
        while not self.is_serving:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SemiPDError(f"The appliance does not serve:\n{self.last_words}")
            time.sleep(LOOK_SECONDS)

    @property
    def _environment(self) -> dict[str, str]:
        """State and sockets of its own, fault points, and the GPU kernels that this user has built."""
        assert self._home is not None
        directories = {name: str(self._home) for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR")}
        kernels = {FLASHINFER_FOLDER: str(KernelCache.of(os.environ).root)}
        return {**os.environ, **directories, **kernels, VARIABLE: str(self._points)}

    def call(self, *words: str) -> None:
        """A `semi-pd` command of the user whose appliance was started here. Raises `CalledProcessError`."""
        subprocess.run([sys.executable, "-m", "appliance", *words], env=self._environment, check=True)

    def stop(self) -> None:
        """End what was started here, and forget its state."""
        if self._process is None or self._home is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self._process.kill()
        shutil.rmtree(self._home, ignore_errors=True)
        self._process = self._home = None

    @property
    def trap(self) -> Trap:
        """Raises `SemiPDError` for an appliance that was not started here."""
        if self._home is None:
            raise SemiPDError("A process can be struck at a named point only in an appliance that is started here.")
        return Trap(self._points)

    @property
    def last_words(self) -> str:
        """The end of what it has said."""
        return self._said.read_text(errors="replace")[-2000:] if self._home else ""

    @property
    def pid(self) -> int:
        """Of the appliance that was started here: all its processes are below it."""
        assert self._process is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        running = self.instance.running()
        if self._process is not None:
            return self._process.poll() is not None
        return running is None or not psutil.pid_exists(running.pid)

    @property
    def endpoint(self) -> Endpoint:
        running = self.instance.running()
        if running is None:
            raise NotRunning("No appliance of this user is running: start one with `semi-pd serve`.")
        return find_endpoint(running.url, self.instance.api_key())

    @property
    def is_serving(self) -> bool:
        """True where health says so."""
        return self._health() is not None

    @property
    def pages_in_use(self) -> int | None:
        """None where it does not serve."""
        health = self._health()
        return None if health is None else health["total_pages"] - health["free_pages"]

    @property
    def requests_in_progress(self) -> int | None:
        """That wait or are computed; None where it does not serve."""
        health = self._health()
        return None if health is None else health["waiting"] + health["running"]

    def pages_left(self) -> int | None:
        """In use once nobody asks any more; the last of them may take a while to come back."""
        deadline = time.monotonic() + QUIET_SECONDS
        while (pages := self.pages_in_use) != 0 and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        return pages

    def __enter__(self) -> Self:
        """Raises `SemiPDError` where it does not start."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def status(self) -> dict[str, Any] | None:
        """None where the controller or the scheduler does not answer."""
        try:
            with Conversation(self.instance) as controller:
                status = json.loads(controller.ask(AskStatus()).data)
        except NotRunning:
            return None
        return status if status["scheduler"] is not None else None

    @property
    def serves(self) -> str:
        """What, on what, and how its phases share it. It must serve."""
        status = self.status()
        assert status is not None, "it serves"
        return f"{status['model']} on {status['device']} by {status['splitter']}"

    def has_recovered(self, victim: Victim, pid: int, alike: int) -> bool:
        """True once requests are served, with `alike` processes of that kind, and `pid` not among them."""
        if victim is not Victim.CONSOLE and not self.is_serving:
            return False
        status = self.status()
        if status is None or status["split_in_force"] is None:
            return False
        try:
            there = candidates(victim, status)
        except psutil.NoSuchProcess:
            return False
        if pid in there or not all(map(psutil.pid_exists, there)):
            return False
        return victim is Victim.SPARE or len(there) >= alike

    @property
    def is_redundant(self) -> bool:
        """True once, beside the group that serves, another stands by or spare workers wait in the other slot."""
        status = self.status()
        if status is None or status["split_in_force"] is None:
            return False
        stages = [group["stage"] for group in status["groups"]]
        if stages == ["active"]:
            serving = status["groups"][0]["slot"]
            waiting = [pid for slot, pids in status["spares"].items() if slot != serving for pid in pids]
            return bool(waiting) and all(map(psutil.pid_exists, waiting))
        return sorted(stages) == ["active", "standby"]

    def _health(self) -> dict[str, Any] | None:
        running = self.instance.running()
        if running is None:
            return None
        host, _, port = running.url.rpartition("/")[2].rpartition(":")
        connection = HTTPConnection(host, int(port), timeout=PROBE_SECONDS)
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            return json.loads(answer.read()) if answer.status == 200 else None
        except (OSError, HTTPException, ValueError):
            return None
        finally:
            connection.close()

    @property
    def _points(self) -> Path:
        assert self._home is not None
        return self._home / "points"

    @property
    def _said(self) -> Path:
        assert self._home is not None
        return self._home / "said"


def held_ports(pid: int) -> set[int]:
    """The clients' ports of the connections that a process holds."""
    return {connection.raddr.port for connection in psutil.Process(pid).net_connections("tcp") if connection.raddr}


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
