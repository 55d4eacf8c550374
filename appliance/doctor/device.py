"""The device and MPS: whether two workers can share it, and who else does. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.doctor.finding import Finding, advise, fine, trouble
from appliance.doctor.observations import Observations
from appliance.sharing import problem_of
from engine.config import SLOTS, Mode

DEVICE, MPS = "device", "MPS"


def device_findings(seen: Observations) -> Iterator[Finding]:
    yield from _device(seen)
    yield from _compute_mode(seen)
    yield from _sharing(seen)
    yield from _daemons(seen)


def _device(seen: Observations) -> Iterator[Finding]:
    if seen.settings is None:
        return
    if not seen.on_cuda and seen.settings.device == "cuda":
        yield trouble(DEVICE, f"The setting device is 'cuda', but {seen.device_problem}.", "Set device to 'auto'.")
    elif not seen.on_cuda:
        why = f": {seen.device_problem}" if seen.device_problem and seen.settings.device == "auto" else ""
        yield fine(DEVICE, f"The CPU serves{why}.")
    elif seen.gpu is None:
        yield trouble(DEVICE, f"No GPU can be told: {seen.gpu_problem}", "Look at what `nvidia-smi` says.")
    else:
        yield fine(DEVICE, f"GPU {seen.gpu.number} serves: {seen.gpu.name}, driver {seen.gpu.driver}.")


def _compute_mode(seen: Observations) -> Iterator[Finding]:
    gpu = seen.gpu
    if gpu is None or not seen.on_cuda:
        return
    if gpu.compute_mode == "Default":
        yield fine("compute mode", f"GPU {gpu.number} lets several processes use it.")
    else:
        yield trouble(
            "compute mode",
            f"GPU {gpu.number} is in compute mode {gpu.compute_mode}, and resident and workers all have to use it.",
            f"Set it with `nvidia-smi -i {gpu.number} -c DEFAULT`.",
        )
    if gpu.mig_mode == "Enabled":
        advice = f"Turn MIG off with `nvidia-smi -i {gpu.number} -mig 0`; until then one worker does both phases."
        yield advise("MIG", f"GPU {gpu.number} is divided by MIG, whose parts are not split further.", advice)
    else:
        yield fine("MIG", f"GPU {gpu.number} is not divided by MIG.")


def _sharing(seen: Observations) -> Iterator[Finding]:
    if not seen.on_cuda or seen.gpu is None or seen.settings is None or seen.settings.mode is Mode.COLOCATED:
        return
    problem = problem_of(seen.settings, seen.gpu, seen.has_mps)
    if problem and seen.gpu.mig_mode != "Enabled":  # MIG has a finding of its own
        yield advise(MPS, f"{problem}; one worker does both phases.", "Install what is missing, and start again.")


def _daemons(seen: Observations) -> Iterator[Finding]:
    if not seen.on_cuda:
        yield fine(MPS, "It is not needed: no GPU is shared.")
        return
    for daemon in seen.daemons:
        if daemon.slot is None:
            yield advise(
                MPS,
                f"An MPS daemon that is not this appliance's runs as process {daemon.pid}: what its clients compute "
                "takes time from ours.",
                f"If nobody needs it, end it: `echo quit | nvidia-cuda-mps-control` with its pipe directory, or "
                f"`kill {daemon.pid}`.",
            )
        elif seen.running_pid is None:
            left = (
                f"The MPS daemon of slot {daemon.slot}, process {daemon.pid}, was left by an appliance that was killed."
            )
            yield advise(MPS, left, f"End it: `kill {daemon.pid}`.")
    yield from _own_daemons(seen)


def _own_daemons(seen: Observations) -> Iterator[Finding]:
    if seen.status is None or seen.status["mode"] == Mode.COLOCATED:
        return
    found = {daemon.slot for daemon in seen.daemons}
    for slot in SLOTS:
        if slot in found:
            yield fine(MPS, f"The daemon of slot {slot} runs.")
        else:
            yield trouble(
                MPS,
                f"The MPS daemon of slot {slot} does not run, so that no group can start there.",
                "Restart the appliance; its logs tell why the daemon ended.",
            )
