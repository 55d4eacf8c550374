"""What NVIDIA's driver says of the GPUs, asked by its own program: no CUDA context is made for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import psutil

from appliance.mps import MPS_CONTROL, visible_gpu
from engine.errors import CannotStart

_FIELDS = "index,uuid,name,driver_version,compute_mode,mig.mode.current"
_COMMAND = ("nvidia-smi", f"--query-gpu={_FIELDS}", "--format=csv,noheader")
_ANSWER_SECONDS = 30.0


class Gpu(NamedTuple):
    """One GPU, in the driver's own words; `number` is its index.

    `compute_mode`: Default, Exclusive_Process or Prohibited. `mig_mode`: Enabled or anything else.
    """

    number: str
    uuid: str
    name: str
    driver: str
    compute_mode: str = "Default"
    mig_mode: str = "Disabled"

    @property
    def driver_branch(self) -> int:
        """580 for driver 580.159.03; 0 where it does not say."""
        branch = self.driver.split(".")[0]
        return int(branch) if branch.isdecimal() else 0


def this_gpu(setting: str) -> Gpu:
    """The GPU that the setting `gpu` names. Raises `CannotStart`."""
    return find(gpus(), visible_gpu(setting, os.environ))


def gpus() -> list[Gpu]:
    """Raises `CannotStart` where nvidia-smi does not answer."""
    try:
        said = subprocess.run(_COMMAND, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotStart(
            f"nvidia-smi does not tell which GPU this is ({error}): install it with NVIDIA's driver."
        ) from error
    return parse(said)


def parse(said: str) -> list[Gpu]:
    """One GPU a line of `nvidia-smi --query-gpu=… --format=csv,noheader`."""
    rows = [[field.strip() for field in line.split(",")] for line in said.splitlines()]
    return [Gpu(*row) for row in rows if len(row) == len(Gpu._fields)]


def find(gpus: Sequence[Gpu], wanted: str) -> Gpu:
    """By its index or UUID, which may be cut short. Raises `CannotStart`."""
    found = [gpu for gpu in gpus if wanted == gpu.number or (wanted[:4] == "GPU-" and gpu.uuid.startswith(wanted))]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{gpu.number} ({gpu.uuid})" for gpu in gpus) or "none"
    raise CannotStart(f"The setting gpu cannot be {wanted!r}: nvidia-smi knows {names}.")


def mps_daemons(own: Iterable[int] = ()) -> list[int]:
    """Processes that are MPS daemons, without `own`."""
    found = [process.info["pid"] for process in psutil.process_iter(["pid", "cmdline"]) if _is_daemon(process)]
    return sorted(set(found) - set(own))


def _is_daemon(process: psutil.Process) -> bool:
    """A daemon has its program's name and a flag; without one the program is a client of another."""
    command = process.info["cmdline"] or [""]
    return os.path.basename(command[0]) == MPS_CONTROL and len(command) > 1
