"""The processes that are no workers: resident, leaders, scheduler, gateway, console, and on CUDA the MPS daemons."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

from appliance.attention import Attention
from appliance.kernels import kernel_environment
from appliance.mps import VISIBLE_DEVICES, MpsDaemon, outside_mps, visible_gpu
from appliance.slot_daemons import SlotDaemons
from appliance.supervisor.local import Child, LocalSupervisor
from engine.config import SLOTS, Mode, PortArgs, ServerArgs
from engine.errors import CANNOT_START

CONSOLE_REST_SECONDS = 2.0
"""How long a console that ended is left alone before it is started again."""


class EngineProcesses:
    """Starts and ends them one by one; `on_end` hears, in words for a person, of one that ended by itself.

    `on_resident_end` and `on_scheduler_end` hear of these two and `on_leader_end` of a leader, by its slot, unless they
    say that they cannot start.
    """

    def __init__(
        self,
        settings: ServerArgs,
        ports: PortArgs,
        log_dir: Path,
        attention: Attention,
        on_end: Callable[[str], None],
        on_resident_end: Callable[[Child], None],
        on_scheduler_end: Callable[[Child], None],
        on_leader_end: Callable[[str, Child], None],
        say: Callable[[str], None] = lambda line: None,
    ):
        self._settings = settings
        self._ports = ports
        self._log_dir = log_dir
        self._attention = attention
        self._on_end = on_end
        leaders = {leader_name(slot): partial(on_leader_end, slot) for slot in SLOTS}
        self._on_loss: dict[str, Callable[[Child], None]] = {
            "resident": on_resident_end,
            "scheduler": on_scheduler_end,
            **leaders,
        }
        self._say = say
        self._ends_are_expected = False
        self._gpu = visible_gpu(settings.gpu, os.environ) if settings.device == "cuda" else ""
        self._supervisor = LocalSupervisor(log_dir, self._environment())
        self._mps = SlotDaemons(self._mps_daemon, attention, say)

    @property
    def children(self) -> dict[str, Child]:
        return self._supervisor.children

    # ── start ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def start_resident(self) -> None:
        """The first, or another after the end of that one, who may have left its socket."""
        Path(self._ports.resident_path).unlink(missing_ok=True)
        self._start("resident", "engine.resident", **self._resident_environment())

    def start_leaders(self) -> None:
        for slot in SLOTS:
            self.start_leader(slot)

    def start_leader(self, slot: str) -> None:
        """The first of its slot, or another after the end of that one."""
        self._start(leader_name(slot), "engine.leader", slot, **self._slot_environment(slot))

    def start_scheduler(self) -> None:
        self._start("scheduler", "engine.scheduler")

    def start_gateway(self) -> None:
        self._start("gateway", "engine.gateway")

    def start_console(self) -> None:
        """Requests are served without it, so its end is nobody else's: it is started again."""
        child = self._supervisor.start("console", "webui", str(self._ports.runtime_dir))
        self._attention.watch(child.pidfd, partial(self._console_ended, child))

    @property
    def is_loaded(self) -> bool:
        """True once the resident answers."""
        return Path(self._ports.resident_path).exists()

    @property
    def is_loading(self) -> bool:
        """True while a resident of this one is to come, or has not loaded the weights yet."""
        return "resident" in self.children and (self.is_gone("resident") or not self.is_loaded)

    @property
    def loading_progress(self) -> str:
        """What the resident says of its loading, empty if it has said nothing; small models are loaded too soon."""
        lines = self.children["resident"].last_words.splitlines()
        events = [json.loads(line)["event"] for line in lines if line.startswith("{") and line.endswith("}")]
        return next((event for event in reversed(events) if event.startswith("loading weights")), "")

    @property
    def is_endpoint_ready(self) -> bool:
        """True once a client would be served."""
        connection = self._connection()
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    @property
    def is_console_settled(self) -> bool:
        """True once a browser would be served, and where no console runs."""
        if self.is_gone("console"):
            return True
        try:
            socket.create_connection((self._settings.console_host, self._settings.console_port), 1.0).close()
        except OSError:
            return False
        return True

    def _connection(self) -> HTTPConnection:
        """To our own endpoint, whoever its certificate is made out to."""
        host, port = self._settings.host, self._settings.port
        if self._settings.url_scheme == "http":
            return HTTPConnection(host, port, timeout=1.0)
        unverified = ssl.create_default_context()
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        return HTTPSConnection(host, port, timeout=1.0, context=unverified)

    def _start(self, name: str, module: str, *arguments: str, **environment: str) -> None:
        child = self._supervisor.start(name, module, str(self._ports.runtime_dir), *arguments, **environment)
        self._attention.watch(child.pidfd, partial(self._ended, child))

    # ── environments ────────────────────────────────────────────────────────────────────────────────────────────────

    def _environment(self) -> dict[str, str]:
        """What every process gets: this one's environment, one thread for each torch, the one GPU and its kernels."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        on_gpu = {VISIBLE_DEVICES: self._gpu} if self._settings.device == "cuda" else {}
        return environment | on_gpu | kernel_environment(self._settings)

    def _resident_environment(self) -> dict[str, str]:
        """The resident must outlive the workers' GPU faults, so it is no client of their MPS daemons."""
        return outside_mps(self._ports.runtime_dir, self._gpu) if self._settings.device == "cuda" else {}

    def _slot_environment(self, slot: str) -> dict[str, str]:
        """A slot's workers are clients of the slot's own MPS daemon, which outlives leaders. One worker needs none."""
        if self._settings.device != "cuda" or self._settings.mode is Mode.COLOCATED:
            return {}
        return self._mps.environment(slot)

    def slot_lost_a_group(self, slot: str) -> None:
        """Its MPS daemon, if it has one, is to answer before long."""
        self._mps.ask(slot)

    def _mps_daemon(self, slot: str) -> MpsDaemon:
        return MpsDaemon(slot, self._ports.mps_pipe_dir(slot), self._log_dir / f"mps-{slot}", self._gpu)

    # ── end ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def expect_ends(self) -> None:
        """From now on a process that ends is no surprise."""
        self._ends_are_expected = True
        self._mps.expect_ends()
        for child in self.children.values():
            self._attention.forget(child.pidfd)

    def is_gone(self, name: str) -> bool:
        return name not in self.children or self.children[name].exit_code is not None

    def terminate(self, name: str) -> None:
        """Ask a process to end, if there is one."""
        if not self.is_gone(name):
            self.children[name].terminate()

    def kill(self, name: str) -> None:
        """End a process now, if there is one; who hears of its end hears of this one too."""
        if not self.is_gone(name):
            self.children[name].kill()

    def end_all(self) -> None:
        """Whatever is left ends now."""
        self._supervisor.kill_all()
        self._mps.stop()

    def _console_ended(self, child: Child) -> None:
        self._attention.forget(child.pidfd)
        self._say(f"The console ended with exit code {child.exit_code}: {child.last_words}")
        if child.exit_code != CANNOT_START:
            self._attention.after(CONSOLE_REST_SECONDS, self._restart_console)

    def _restart_console(self) -> None:
        if not self._ends_are_expected:
            self.start_console()

    def _ended(self, child: Child) -> None:
        self._attention.forget(child.pidfd)
        if child.exit_code == CANNOT_START:
            self._on_end(child.last_words)
        elif child.name in self._on_loss:
            self._on_loss[child.name](child)
        else:
            self._on_end(child.obituary)


def leader_name(slot: str) -> str:
    return f"leader-{slot}"
