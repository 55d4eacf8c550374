"""`python -m appliance.machine.prepare ETC RUNTIME_DIR`: from the machine's files to what a start's processes read.

Writes the settings, resolved for the device, and an environment file for each kind of process, and makes the API key of
the first start. Which keys are valid the controller knows, and tells the gateways.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from appliance.instance import Instance
from appliance.kernels import kernel_environment
from appliance.machine.last_split import LastSplit
from appliance.machine.settings import read_settings
from appliance.mps import VISIBLE_DEVICES, MpsDaemon, outside_mps, visible_gpu
from appliance.profile.fitting import shared_device
from engine.config import SLOTS, Mode, PortArgs, ServerArgs
from engine.process import run


def environments(settings: ServerArgs, ports: PortArgs) -> dict[str, dict[str, str]]:
    """What each kind of process needs beside the units' own environment; `mps-…` only where such a daemon is needed."""
    if settings.device != "cuda":
        return {}
    gpu = visible_gpu(settings.gpu, os.environ)
    outside, kernels = outside_mps(ports.runtime_dir, gpu), kernel_environment(settings)
    if settings.mode is Mode.COLOCATED:
        return {"resident": outside} | {f"group-{slot}": {VISIBLE_DEVICES: gpu} | kernels for slot in SLOTS}
    clients = {slot: _mps(slot, ports, gpu).client_environment for slot in SLOTS}
    daemons = {f"mps-{slot}": clients[slot] | {VISIBLE_DEVICES: gpu} for slot in SLOTS}
    return {"resident": outside} | daemons | {f"group-{slot}": clients[slot] | kernels for slot in SLOTS}


def _mps(slot: str, ports: PortArgs, gpu: str) -> MpsDaemon:
    return MpsDaemon(slot, ports.mps_pipe_dir(slot), ports.runtime_dir / f"mps-{slot}-log", gpu)


def write_environments(wanted: dict[str, dict[str, str]], runtime_dir: Path) -> None:
    """One `NAME.env` each, in systemd's format; those of a former start that are not wanted any more go."""
    for old in runtime_dir.glob("*.env"):
        old.unlink()
    for name, environment in wanted.items():
        lines = [f'{key}="{value}"\n' for key, value in environment.items()]
        (runtime_dir / f"{name}.env").write_text("".join(lines))


def main() -> None:
    etc, ports = Path(sys.argv[1]), PortArgs(Path(sys.argv[2]))
    settings = read_settings(etc)
    settings, notices = shared_device(settings)
    for notice in notices:
        print(notice)
    ports.write_settings(settings)
    LastSplit(ports.runtime_dir).forget()
    Instance.of_user().api_key()
    write_environments(environments(settings, ports), ports.runtime_dir)


if __name__ == "__main__":
    run(main)
