"""What a profile is measured with: a resident with random weights, an MPS daemon on a GPU, and probes beside it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Self

from appliance.kernels import kernel_environment
from appliance.mps import PERCENTAGE, VISIBLE_DEVICES, MpsDaemon, outside_mps, visible_gpu
from appliance.profile.pair import Pair
from appliance.profile.probe_process import ProbeLost, ProbeProcess
from appliance.supervisor.local import LocalSupervisor
from engine.allocation import WHOLE, Phase, SMAllocation, Splitter
from engine.config import SLOTS, PortArgs, ServerArgs
from engine.errors import CannotStart
from engine.profile.conditions import Conditions
from engine.profile.messages import Open
from engine.resident.manifest import MemorySpec

LOAD_SECONDS = 300.0
LOOK_SECONDS = 0.05


class Rig:
    """A context: everything it has started has ended when it is left. `splits`: those to come, in their order.

    With `mps` a share is a matter of the environment in which CUDA starts, so that each split has processes of its own;
    they take the reference from the first pair, which has the whole chip and lives on. Otherwise one pair goes from
    part to part.
    """

    def __init__(self, settings: ServerArgs, conditions: Conditions, splits: Sequence[SMAllocation], log_dir: Path):
        self._settings = conditions.resident_settings(settings)
        self._conditions = conditions
        self._log_dir = log_dir
        self._on_gpu = settings.device == "cuda"
        self.is_fresh_each_time = settings.splitter is Splitter.MPS
        self._next = dict(pairwise([WHOLE, *splits])) if self.is_fresh_each_time else {}
        self._gpu = visible_gpu(settings.gpu, os.environ)
        self._kernels = kernel_environment(self._settings)
        self._ports = PortArgs.init_new(self._settings)
        self._supervisor = LocalSupervisor(log_dir, self._environment())
        self._mps: MpsDaemon | None = None
        self._pairs: dict[SMAllocation, Pair] = {}
        self._references: dict[Phase, MemorySpec | None] = dict.fromkeys(Phase)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for split in reversed(list(self._pairs)):
            self.dismiss(split)
        for child in self._supervisor.children.values():
            child.terminate()
        if self._mps is not None:
            self._mps.stop()
        self._supervisor.kill_all()
        shutil.rmtree(self._ports.runtime_dir, ignore_errors=True)

    def open(self, split: SMAllocation) -> Pair:
        """A pair of new processes that can take their parts of `split`. The next split's import meanwhile.

        Raises `ProbeLost`.
        """
        pair = self._pairs.get(split) or self._begin(split)
        exports = self.is_fresh_each_time and split == WHOLE
        orders = {phase: Open(self._conditions, self._references[phase], exports) for phase in Phase}
        try:
            opened = pair.open(orders)
        except ProbeLost:
            self.dismiss(split)
            raise
        if exports:
            self._references = {phase: opened[phase].reference for phase in Phase}
        if split in self._next:
            self._begin(self._next[split])
        return pair

    def dismiss(self, split: SMAllocation) -> None:
        """End the probes that were opened for a split."""
        self._pairs.pop(split).dismiss()

    def _start(self) -> None:
        outside = outside_mps(self._ports.runtime_dir, self._gpu) if self._on_gpu else {}
        resident = self._supervisor.start("resident", "engine.resident", str(self._ports.runtime_dir), **outside)
        if self._on_gpu:
            self._mps = MpsDaemon("profile", self._ports.mps_pipe_dir(SLOTS[0]), self._log_dir / "mps", self._gpu)
            self._mps.start()
        self._begin(WHOLE)
        deadline = time.monotonic() + LOAD_SECONDS
        while not Path(self._ports.resident_path).exists():
            if resident.wait(LOOK_SECONDS):
                raise CannotStart(resident.last_words)
            if time.monotonic() > deadline:
                raise CannotStart(f"The resident has not made its weights within {LOAD_SECONDS:g} s.")

    def _begin(self, split: SMAllocation) -> Pair:
        """Let the probes for a split import."""
        probes = [self._probe(phase, split) for phase in Phase]
        self._pairs[split] = Pair(*probes, conditions=self._conditions)
        return self._pairs[split]

    def _probe(self, phase: Phase, split: SMAllocation) -> ProbeProcess:
        log_path = self._log_dir / f"probe-{phase}-{split.share(phase)}.log"
        environment = self._environment() | self._cuda_environment(phase, split)
        return ProbeProcess(phase, self._ports, log_path, environment)

    # ── environments ────────────────────────────────────────────────────────────────────────────────────────────────

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        return environment | ({VISIBLE_DEVICES: self._gpu} if self._on_gpu else {}) | self._kernels

    def _cuda_environment(self, phase: Phase, split: SMAllocation) -> dict[str, str]:
        """Fixed before the imports, some of which start CUDA.

        A first pair that outlives others must not share their fate, should one of them fail.
        """
        if self._mps is None:
            return {}
        if not self.is_fresh_each_time:
            return self._mps.client_environment
        if split == WHOLE:
            return outside_mps(self._ports.runtime_dir, self._gpu)
        return {**self._mps.client_environment, PERCENTAGE: str(split.share(phase))}
