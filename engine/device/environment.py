"""What was decided before CUDA starts in a process: which GPUs it sees and its share under MPS. No torch, no CUDA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.errors import CannotStart, SemiPDError

MPS_PERCENTAGE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


def gpu_index(gpu: str, uuids: Sequence[str], environment: Mapping[str, str]) -> int:
    """Which of the visible GPUs `gpu` names. Raises `CannotStart` if none.

    Where `CUDA_VISIBLE_DEVICES` leaves one GPU only, whoever started this process has made the choice already, and an
    index means what it meant there.
    """
    if not gpu.isdecimal():
        found = [index for index, uuid in enumerate(uuids) if uuid.startswith(gpu.removeprefix("GPU-"))]
        if len(found) == 1:
            return found[0]
    elif int(gpu) < len(uuids):
        return int(gpu)
    elif len(uuids) == 1 and VISIBLE_DEVICES in environment:
        return 0
    names = ", ".join(f"{index} (GPU-{uuid})" for index, uuid in enumerate(uuids))
    raise CannotStart(f"The setting gpu cannot be {gpu!r}: this process sees {names}.")


def check_mps_share(share: int, environment: Mapping[str, str]) -> None:
    """MPS takes the share from the environment when CUDA starts; later it can only be compared."""
    in_force = float(environment.get(MPS_PERCENTAGE, "100"))
    if in_force != share:
        raise SemiPDError(f"This process was started with {MPS_PERCENTAGE} at {in_force:g}, it is to have {share}.")
