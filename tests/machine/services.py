"""The appliance's processes as systemd starts them, with `LocalSupervisor` in systemd's place."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from appliance.control.client import NotRunning, ask
from appliance.control.messages import AskRotation, AskStatus, Command, Reply
from appliance.instance import Instance
from appliance.supervisor.local import Child, LocalSupervisor
from engine.config import SLOTS, PortArgs
from tests.system.appliance import unused_port

START_SECONDS = 90.0


class Services:
    """All of them in one directory: `etc`, state and runtime directory."""

    def __init__(self, home: Path):
        self.home = home
        self.ports = PortArgs(home / "run")
        self.instance = Instance(home / "semi-pd")
        self.url = f"http://127.0.0.1:{(port := unused_port())}"
        for directory in (self.ports.runtime_dir, home / "etc", self.instance.log_dir):
            directory.mkdir(parents=True)
        (home / "etc" / "semi-pd.toml").write_text(f'device = "cpu"\nport = {port}\npolicy = "manual"\n')
        environment = {**os.environ, "XDG_STATE_HOME": str(home)}
        self.supervisor = LocalSupervisor(self.instance.log_dir, environment)

    def start(self, name: str) -> Child:
        """As the unit of that name does."""
        runtime_dir = str(self.ports.runtime_dir)
        module, arguments = {
            "prepare": ("appliance.machine.prepare", [str(self.home / "etc"), runtime_dir]),
            "controller": ("appliance.machine.controller", [runtime_dir]),
            **{f"group-{slot}": ("engine.leader", [runtime_dir, slot]) for slot in SLOTS},
        }.get(name, (f"engine.{name}", [runtime_dir]))
        return self.supervisor.start(name, module, *arguments)

    def start_all(self) -> None:
        assert self.start("prepare").wait(START_SECONDS)
        for name in ("resident", "group-a", "group-b", "scheduler", "gateway", "controller"):
            self.start(name)

    def end(self, name: str, sign: signal.Signals = signal.SIGTERM) -> None:
        """End one process, and wait for it."""
        child = self.supervisor.children[name]
        child.process.send_signal(sign)
        assert child.wait(START_SECONDS)

    def ask(self, command: Command) -> Reply:
        return ask(self.instance, command, START_SECONDS)

    def status(self) -> dict[str, Any]:
        """What the controller says as soon as one answers and a group serves."""
        while True:
            try:
                status = json.loads(self.ask(AskStatus()).data)
            except NotRunning:
                continue
            if status["split_in_force"]:
                return status

    def rotate(self, prefill: int, decode: int) -> Reply:
        return self.ask(AskRotation(prefill, decode))

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.instance.api_key()}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=START_SECONDS, trust_env=False)


@contextmanager
def running_services() -> Iterator[Services]:
    """All services, with the controller's first group serving; at the end all of them are gone."""
    home = Path(tempfile.mkdtemp(prefix="semi-pd-test-"))
    services = Services(home)
    try:
        services.start_all()
        services.status()
        yield services
    finally:
        services.supervisor.kill_all()
        shutil.rmtree(home)
