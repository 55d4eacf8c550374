"""Which GPU kernels the appliance's processes find, and whether those of this model are built."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from appliance.mps import VISIBLE_DEVICES, visible_gpu
from engine.config import ServerArgs
from engine.errors import CannotStart
from engine.kernel_cache import BUILD_SECONDS, KernelCache, KernelNeeds, compute_capability, installed_versions, problem


def kernel_environment(settings: ServerArgs) -> dict[str, str]:
    """For every process that may import FlashInfer; empty on the CPU. The settings are resolved for a device."""
    if settings.device != "cuda":
        return {}
    return KernelCache.of(os.environ).environment(compute_capability(visible_gpu(settings.gpu, os.environ)))


def kernel_notice(settings: ServerArgs) -> str:
    """One sentence where kernels have to be built first, empty where they have not, or where it cannot be known.

    Of a model that cannot be served nothing is said: who loads it does.
    """
    try:
        reason = missing_kernels(settings)
    except CannotStart:
        return ""
    return reason and (
        f"{reason[0].upper()}{reason[1:]}: the first start builds them, which takes minutes; "
        f"'semi-pd kernels build' does it beforehand, in about {BUILD_SECONDS} s on 16 cores."
    )


def missing_kernels(settings: ServerArgs) -> str:
    """Why kernels have to be built, in a clause; empty if they have not. Raises `CannotStart` for a bad model."""
    if settings.device != "cuda":
        return ""
    capability = compute_capability(visible_gpu(settings.gpu, os.environ))
    if capability is None:
        return ""
    needs = KernelNeeds.of(settings.model_path, settings.dtype, capability)
    return problem(KernelCache.of(os.environ).built(), needs, installed_versions())


def build_kernels(settings: ServerArgs) -> str:
    """Have them built by a process of their own, whose output is the caller's; returns its last sentence.

    Raises `CannotStart` with what that process said last.
    """
    if settings.device != "cuda":
        return "The CPU needs no kernels built."
    environment = os.environ | kernel_environment(settings) | {VISIBLE_DEVICES: visible_gpu(settings.gpu, os.environ)}
    command = [sys.executable, "-m", "engine.kernels.build", str(Path(settings.model_path)), settings.dtype]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise CannotStart(f"The GPU kernels could not be built: exit code {done.returncode}, and the reason is above.")
    return done.stdout.strip().splitlines()[-1]
