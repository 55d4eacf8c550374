"""Looks at the machine and at the appliance that runs on it, if one does. Decides nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError

from appliance.control.client import NotRunning, ask
from appliance.control.messages import AskStatus
from appliance.doctor.observations import Answer, Daemon, Observations, Process
from appliance.doctor.probes import probe_all
from appliance.gpu import Gpu, mps_daemons, this_gpu
from appliance.instance import Instance, Running, require_free_port
from appliance.mps import MPS_CONTROL, PIPE_DIRECTORY
from engine.config import SLOTS, PortArgs, ServerArgs, explain
from engine.device.detect import CudaSupport, detect_device, probe
from engine.errors import CannotStart

_FREE_MEMORY = ("nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits")
_ANSWER_SECONDS = 30.0


def look(instance: Instance) -> Observations:
    """Everything that can be seen now; takes as long as the slowest answer."""
    running = instance.running()
    if running is not None and psutil.pid_exists(running.pid) and Path(running.runtime_dir).exists():
        seen = _look_at_running(instance, running)
    else:
        seen = _look_before_start()
    return _look_at_device(seen, PortArgs(Path(running.runtime_dir)) if running else None)


def _look_at_running(instance: Instance, running: Running) -> Observations:
    ports = PortArgs(Path(running.runtime_dir))
    settings = ports.read_settings()
    status, controller = _status(instance)
    processes = tuple(_processes(status, running.pid)) if status else ()
    answers = (controller, *probe_all(ports, settings))
    return Observations(settings, running_pid=running.pid, status=status, answers=answers, processes=processes)


def _status(instance: Instance) -> tuple[dict[str, Any] | None, Answer]:
    began = time.monotonic()
    try:
        reply = ask(instance, AskStatus())
    except NotRunning as error:
        return None, Answer("controller", None, str(error))
    took = Answer("controller", 1000 * (time.monotonic() - began))
    return (
        (json.loads(reply.data), took)
        if reply.done
        else (None, took._replace(milliseconds=None, problem=reply.sentence))
    )


def _processes(status: dict[str, Any], controller: int) -> Iterator[Process]:
    named = {"controller": controller, **status["processes"]}
    for group in status["groups"]:
        named |= {f"worker {number} of epoch {group['epoch']}": pid for number, pid in enumerate(group["pids"], 1)}
    for name, pid in named.items():
        yield Process(name, pid, _state(pid))


def _state(pid: int) -> str | None:
    try:
        return psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return None


def _look_before_start() -> Observations:
    """What the next start would find."""
    try:
        settings = ServerArgs()
    except ValidationError as error:
        return Observations(None, settings_problem=explain(error))
    try:
        require_free_port(settings.host, settings.port, "--port")
    except CannotStart as error:
        return Observations(settings, port_problem=str(error))
    return Observations(settings)


def _look_at_device(seen: Observations, ports: PortArgs | None) -> Observations:
    if seen.settings is None:
        return seen
    support = probe()
    try:
        device = detect_device(seen.settings.device)
    except CannotStart:
        device = "cpu"
    if device == "cpu":
        return replace(seen, device_problem=support.problem or "", free_memory_bytes=psutil.virtual_memory().available)
    return _look_at_gpu(seen, ports, support)


def _look_at_gpu(seen: Observations, ports: PortArgs | None, support: CudaSupport) -> Observations:
    assert seen.settings is not None
    try:
        gpu, problem = this_gpu(seen.settings.gpu), ""
    except CannotStart as error:
        gpu, problem = None, str(error)
    return replace(
        seen,
        on_cuda=True,
        device_problem=support.problem or "",
        gpu=gpu,
        gpu_problem=problem,
        has_mps=shutil.which(MPS_CONTROL) is not None,
        daemons=tuple(Daemon(pid, _slot_of(pid, ports)) for pid in mps_daemons()),
        free_memory_bytes=_free_memory(gpu) if gpu else None,
    )


def _slot_of(pid: int, ports: PortArgs | None) -> str | None:
    """Whose daemon it is, by its pipe directory; another user's is not ours."""
    try:
        where = psutil.Process(pid).environ().get(PIPE_DIRECTORY, "")
    except psutil.Error:
        return None
    ours = {str(ports.mps_pipe_dir(slot)): slot for slot in SLOTS} if ports else {}
    return ours.get(os.path.normpath(where))


def _free_memory(gpu: Gpu) -> int | None:
    """Bytes; None where the driver does not say."""
    command = (*_FREE_MEMORY, "-i", gpu.uuid)
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return int(said.strip()) << 20 if said.strip().isdecimal() else None
