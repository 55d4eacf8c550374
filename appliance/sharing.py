"""Whether this machine's GPU can be shared by two workers, and what a person should know of it. A pure decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from appliance.gpu import Gpu
from engine.allocation import Splitter
from engine.config import Mode, ServerArgs
from engine.errors import CannotStart

GREEN_CONTEXTS_SINCE = 550
"""The driver branch of CUDA 12.4, whose API has green contexts first."""


class Sharing(NamedTuple):
    """Settings that fit the machine, and a sentence for each thing that is not as it should be."""

    settings: ServerArgs
    notices: list[str]


def sharing(settings: ServerArgs, gpu: Gpu, has_mps: bool, foreign_daemons: Sequence[int]) -> Sharing:
    """`settings` are resolved for CUDA. Where two workers cannot share the GPU, one does both phases.

    Raises `CannotStart` for a compute mode in which not even resident and worker can both use it.
    """
    if gpu.compute_mode != "Default":
        raise CannotStart(
            f"GPU {gpu.number} is in compute mode {gpu.compute_mode}, and several processes have to use it: "
            f"set it with `nvidia-smi -i {gpu.number} -c DEFAULT`."
        )
    notices = [_foreign(pid) for pid in foreign_daemons]
    if settings.mode is Mode.COLOCATED:
        return Sharing(settings, notices)
    if problem := problem_of(settings, gpu, has_mps):
        colocated = f"{problem}: one worker does both phases, as with mode 'colocated'."
        return Sharing(settings.model_copy(update={"mode": Mode.COLOCATED}), [*notices, colocated])
    return Sharing(settings, notices)


def problem_of(settings: ServerArgs, gpu: Gpu, has_mps: bool) -> str:
    """Why two workers cannot share the GPU, empty if they can. A clause."""
    if gpu.mig_mode == "Enabled":
        return f"GPU {gpu.number} is divided by MIG, whose parts have not been tried as GPUs to split further"
    if not has_mps:
        return "NVIDIA's MPS is not installed, without which two processes take turns on a GPU"
    if settings.splitter is Splitter.GREEN and gpu.driver_branch < GREEN_CONTEXTS_SINCE:
        return f"Driver {gpu.driver} has no green contexts, which came with {GREEN_CONTEXTS_SINCE}"
    return ""


def _foreign(pid: int) -> str:
    return (
        f"An MPS daemon that is not this appliance's runs as process {pid}: it is left alone, and what its clients "
        "compute on the GPU takes time from ours."
    )
