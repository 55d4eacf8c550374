"""The whole appliance as child processes of this one: started in order, watched, stopped in the opposite order."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

from appliance.attention import Attention
from appliance.group_control import GroupControl
from appliance.instance import Instance, Running, publish_keys
from appliance.mps import VISIBLE_DEVICES, MpsDaemon, outside_mps, visible_gpu
from appliance.supervisor.local import Child, LocalSupervisor
from engine.config import SLOTS, Mode, PortArgs, ServerArgs
from engine.errors import CANNOT_START, CannotStart, SemiPDError

GATEWAY_DRAIN_SECONDS = 35.0
EXIT_SECONDS = 10.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """Ctrl-C or TERM came before the appliance served."""


class ForegroundAppliance:
    """`settings` must be resolved for a device; `say` takes one line for the person at the terminal."""

    def __init__(self, settings: ServerArgs, instance: Instance, say: Callable[[str], None]):
        self._settings = settings
        self._instance = instance
        self._say = say
        self._gpu = visible_gpu(settings.gpu, os.environ)
        self._ports = PortArgs.init_new(settings)
        self._supervisor = LocalSupervisor(instance.log_dir, self._environment())
        self._mps: dict[str, MpsDaemon] = {}
        self._control = GroupControl(settings, self._ports, say)
        self._attention = Attention(STOP_SIGNALS)
        for control_socket in self._control.sockets:
            self._attention.watch(control_socket, self._control.receive)

    @property
    def url(self) -> str:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self._settings.port}"

    # ── start ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, api_key: str) -> None:
        """Serve when this returns. Raises `CannotStart` with the reason, `Interrupted` if a signal came first."""
        publish_keys(self._ports, [api_key])
        self._start_child("resident", "engine.resident", **self._resident_environment())
        for slot in SLOTS:
            self._start_child(f"leader-{slot}", "engine.leader", slot, **self._slot_environment(slot))
        self._control.form(self._settings.allocation)
        self._until("weights are loaded", lambda: Path(self._ports.resident_path).exists())
        self._start_child("scheduler", "engine.scheduler")
        self._start_child("gateway", "engine.gateway")
        self._until("workers are ready", lambda: self._control.is_serving)
        self._until("endpoint is ready", self._endpoint_is_ready)
        self._instance.announce(Running(os.getpid(), str(self._ports.runtime_dir), self.url))

    def _start_child(self, name: str, module: str, *arguments: str, **environment: str) -> None:
        child = self._supervisor.start(name, module, str(self._ports.runtime_dir), *arguments, **environment)
        self._attention.watch(child.pidfd, lambda: self._child_ended(child))

    def _until(self, what: str, is_done: Callable[[], bool]) -> None:
        started = time.monotonic()
        if self._attention.wait_until(is_done):
            raise Interrupted
        self._say(f"  {what} ({time.monotonic() - started:.1f} s)")

    def _endpoint_is_ready(self) -> bool:
        connection = HTTPConnection(self._settings.host, self._settings.port, timeout=1.0)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    # ── environments ────────────────────────────────────────────────────────────────────────────────────────────────

    def _environment(self) -> dict[str, str]:
        """What every process gets: this one's environment, one thread for each torch, and the one GPU."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        return environment | ({VISIBLE_DEVICES: self._gpu} if self._settings.device == "cuda" else {})

    def _resident_environment(self) -> dict[str, str]:
        """The resident must outlive the workers' GPU faults, so it is no client of their MPS daemons."""
        return outside_mps(self._ports.runtime_dir, self._gpu) if self._settings.device == "cuda" else {}

    def _slot_environment(self, slot: str) -> dict[str, str]:
        """A slot's workers are clients of the slot's own MPS daemon, which is started here. One worker needs none."""
        if self._settings.device != "cuda" or self._settings.mode is Mode.COLOCATED:
            return {}
        daemon = MpsDaemon(slot, self._ports.mps_pipe_dir(slot), self._instance.log_dir / f"mps-{slot}", self._gpu)
        daemon.start()
        self._mps[slot] = daemon
        return daemon.client_environment

    # ── serve ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Serve until Ctrl-C or TERM. Raises `CannotStart` when a process that cannot be replaced has ended."""
        while not self._attention.wait():
            pass

    def _child_ended(self, child: Child) -> None:
        self._attention.forget(child.pidfd)
        if child.exit_code == CANNOT_START:
            raise CannotStart(child.last_words)
        raise CannotStart(
            f"The {child.name} process ended with exit code {child.exit_code}. "
            f"The last lines of {child.log_path}:\n{child.last_words}"
        )

    # ── stop ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """Drain and end every process; a signal meanwhile ends them at once. May be called after any failure."""
        for child in self._supervisor.children.values():
            self._attention.forget(child.pidfd)
        try:
            self._stop_in_order()
        except SemiPDError as error:
            self._say(str(error))
        finally:
            self._supervisor.kill_all()
            for daemon in self._mps.values():
                daemon.stop()
            self._control.close()
            shutil.rmtree(self._ports.runtime_dir, ignore_errors=True)

    def _stop_in_order(self) -> None:
        if self._end("gateway", GATEWAY_DRAIN_SECONDS) or self._drain_workers():
            return
        for name in ("leader-a", "leader-b", "scheduler", "resident"):
            if self._end(name, EXIT_SECONDS):
                return

    def _end(self, name: str, seconds: float) -> bool:
        """Ask a process to end and wait for it; True if a signal cut the wait short."""
        child = self._supervisor.children.get(name)
        if child is None:
            return False
        child.terminate()
        return self._attention.wait_until(lambda: child.exit_code is not None, seconds)

    def _drain_workers(self) -> bool:
        if "scheduler" not in self._supervisor.children:
            return False
        self._control.retire_all()
        return self._attention.wait_until(lambda: not self._control.has_groups, EXIT_SECONDS)
