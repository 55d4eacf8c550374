"""The appliance's processes as the operating system sees them."""

from __future__ import annotations

import json
import threading
import time
from typing import Any, NamedTuple

import psutil

from appliance.control.messages import AskGpuMemory
from appliance.instance import Instance
from webui.controller import Controller

CONTROLLER = "Controller"
WORKERS = ("Prefill", "Decode")
MODULES = {
    "engine.gateway": ("Gateway", "the REST endpoint"),
    "engine.scheduler": ("Scheduler", "decides who is computed next"),
    "engine.resident": ("Resident", "weights, KV pages, ledger"),
    "engine.leader": ("Group leader", "forms groups of workers"),
    "engine.worker": ("Spare worker", "has imported everything and waits"),
    "engine.gateway.template_process": ("Template process", "renders chat templates"),
    "engine.grammar.compile_process": ("Compile process", "compiles schemas"),
    "webui": ("Console", "this page"),
}


class ProcessRow(NamedTuple):
    """`cpu_percent` of one core since the last look; `bytes` resident, shared pages included. `gpu_bytes`: without what
    it maps of other processes; None where there is no GPU, or it has none of its memory."""

    pid: int
    name: str
    role: str
    status: str
    uptime_seconds: float
    cpu_percent: float
    bytes: int
    threads: int
    slot: str = ""
    gpu_bytes: int | None = None


class ProcessTable:
    """Remembers the processes it has seen, because load is measured between two looks."""

    def __init__(self, instance: Instance, controller: Controller):
        self._instance = instance
        self._controller = controller
        self._seen: dict[int, psutil.Process] = {}
        self._lock = threading.Lock()

    def rows(self) -> list[ProcessRow]:
        """The controller first, then those below it, each kind together."""
        status = self._controller.status()
        workers, gpu_bytes = _workers(status), self._gpu_bytes(status)
        with self._lock:
            found = self._processes(status)
            self._seen = {process.pid: self._seen.get(process.pid, process) for process in found}
            rows = [_row(process, workers, gpu_bytes.get(process.pid)) for process in self._seen.values()]
        return sorted((row for row in rows if row is not None), key=_place)

    def _gpu_bytes(self, status: dict[str, Any] | None) -> dict[int, int]:
        """By process id; the controller asks the driver, which the console may not."""
        if status is None or status["device"] != "cuda":
            return {}
        reply = self._controller.ask(AskGpuMemory())
        return {int(pid): used for pid, used in json.loads(reply.data).items()} if reply.done else {}

    def _processes(self, status: dict[str, Any] | None) -> list[psutil.Process]:
        """Those the controller names, and all that they started; under systemd they are nobody's children."""
        running = self._instance.running()
        named = [] if running is None else [running.pid]
        if status is not None:
            named += [*status["processes"].values(), *(pid for group in status["groups"] for pid in group["pids"])]
        return list({process.pid: process for pid in named for process in _family(pid)}.values())


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _workers(status: dict[str, Any] | None) -> dict[int, dict[str, Any]]:
    """The scheduler's word on each worker, by process id."""
    scheduler = status and status["scheduler"]
    return {worker["pid"]: worker for worker in scheduler["workers"]} if scheduler else {}


def _row(process: psutil.Process, workers: dict[int, dict[str, Any]], gpu_bytes: int | None) -> ProcessRow | None:
    try:
        with process.oneshot():
            name, role = _who(process, workers)
            return ProcessRow(
                process.pid,
                name,
                role,
                STATES.get(process.status(), process.status()),
                time.time() - process.create_time(),
                process.cpu_percent(),
                process.memory_info().rss,
                process.num_threads(),
                workers.get(process.pid, {}).get("slot", ""),
                gpu_bytes,
            )
    except psutil.NoSuchProcess:
        return None


def _place(row: ProcessRow) -> tuple[int, str, int]:
    kinds = [*WORKERS, *(name for name, _ in MODULES.values())]
    first = next((index for index, name in enumerate(kinds, 1) if row.name.startswith(name)), len(kinds) + 1)
    return (0 if row.name == CONTROLLER else first, row.name, row.pid)


STATES = {"running": "computes", "sleeping": "waits", "idle": "waits", "disk-sleep": "waits for the disk"}
"""As people say it; what is left, such as a zombie or a stopped one, is wrong and keeps its name."""


def _is_forked(process: psutil.Process, command: list[str]) -> bool:
    """gunicorn's workers have their master's command line."""
    parent = process.parent()
    return parent is not None and parent.cmdline() == command


def _who(process: psutil.Process, workers: dict[int, dict[str, Any]]) -> tuple[str, str]:
    if worker := workers.get(process.pid):
        state = "serves" if worker["is_active"] else "does not serve"
        share = f"{worker['share_percentage']} % by {worker['splitter']}"
        return f"{' and '.join(worker['phases']).capitalize()} worker", f"slot {worker['slot']}, {share}, {state}"
    command = process.cmdline()
    module = command[command.index("-m") + 1] if "-m" in command[:-1] else ""
    if module in MODULES:
        name, role = MODULES[module]
        return (f"{name} worker" if _is_forked(process, command) else name), role
    if "serve" in command:
        return CONTROLLER, "semi-pd serve: rotations and policy"
    return (process.name(), "")
