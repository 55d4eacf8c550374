"""One phase in one part of the device after the other, over weights and KV cache of a resident."""

from __future__ import annotations

import gc
import time

import torch

from engine.allocation import Phase, SMAllocation, Splitter
from engine.config import ServerArgs
from engine.device.device import Partition
from engine.device.open_device import open_device
from engine.model.checkpoint import weights_of
from engine.model.config import ModelConfig
from engine.model.decode_runner import decode_runner_for
from engine.model.runner import ModelRunner, build_runner
from engine.profile.load import DecodeLoad, Load, PrefillLoad
from engine.profile.messages import Checked, Open, Opened, Take, Taken, Worked
from engine.profile.products import products_of
from engine.profile.self_test import expected, problem_of, reference_size
from engine.resident.attachment import Attachment


class Probe:
    """Opens the device when it is built; then `take`, and `test` or `work` in the part that was taken."""

    def __init__(self, phase: Phase, settings: ServerArgs, memory: Attachment, order: Open):
        self._phase = phase
        self._settings = settings
        self._manifest = memory.manifest
        self._conditions = order.conditions
        self._config = ModelConfig.load(settings.model_path)
        self._device = open_device(memory.manifest.device, settings.gpu, fits_products=not settings.deterministic)
        self._weights = weights_of(memory.map_weights(self._device), memory.manifest.weights, memory.manifest.dtype)
        self._kv = memory.map_kv(self._device)
        if phase is Phase.DECODE:  # there is something behind each lane, as in serving
            self._kv[: self._manifest.kv.nbytes].view(getattr(torch, self._manifest.kv.dtype)).normal_()
        self.opened = self._make_reference(order)
        self._partition: Partition | None = None
        self._runner: ModelRunner | None = None
        self._load: Load | None = None

    def _make_reference(self, order: Open) -> Opened:
        """On the whole device: nothing is restricted to a part yet, or the reference is another process's."""
        products = products_of(self._phase, self._config, self._conditions, self._settings)
        nbytes = reference_size(products, self._weights)
        region = self._device.allocate(nbytes, "semi-pd-reference") if order.exports else None
        if order.reference is not None:
            reference = self._device.map(order.reference, None)
        elif region is not None:
            reference = region.tensor
        else:
            reference = torch.empty(nbytes, dtype=torch.uint8, device=self._device.torch_device)
        self._expected = expected(products, self._weights, reference, is_computed=order.reference is not None)
        self._device.synchronize()
        self._exported = region  # others map it for as long as this process holds it
        return Opened(region.memory if region else None)

    def take(self, order: Take) -> Taken:
        """The phase's part of the split, kernels and graphs for it included. What was held before is given back."""
        self._let_go()
        allocation = SMAllocation(order.prefill_percentage, order.decode_percentage)
        is_whole = allocation.share(self._phase) == 100
        splitter = Splitter.NONE if is_whole else self._settings.splitter
        assert splitter is not None, "settings are resolved for a device"
        partition = self._device.partition(self._phase, allocation, splitter)
        with partition.step():
            self._runner = self._build(partition)
            self._load = self._load_of(self._runner)
            for lanes in {self._conditions.decode_lanes, self._conditions.most_lanes}:
                self._load.turn(lanes)  # the first step in a part loads kernels
            self._load.finish()
        self._device.synchronize()
        self._partition = partition
        return Taken(partition.sm_count)

    def test(self) -> Checked:
        """Compute every product in the part taken."""
        assert self._partition is not None and self._runner is not None, "a part is taken first"
        with self._partition.step():
            problem = problem_of(self._expected, self._weights, self._runner.kernels)
        self._device.synchronize()
        return Checked(len(self._expected), problem)

    def work(self, seconds: float, lanes: int) -> Worked:
        """Step for `seconds`, resting after each step where the share is kept by resting."""
        assert self._partition is not None and self._load is not None, "a part is taken first"
        began, ended = time.monotonic(), []
        while not ended or ended[-1] < began + seconds:
            if self._turn(lanes):
                ended.append(time.monotonic())
        with self._partition.step():
            self._load.finish()
        self._device.synchronize()
        return Worked(began, tuple(ended))

    def _turn(self, lanes: int) -> bool:
        assert self._partition is not None and self._load is not None, "a part is taken first"
        with self._partition.step():
            seen = self._load.turn(lanes)
        if self._partition.rest_seconds:
            time.sleep(self._partition.rest_seconds)
        return seen

    def _build(self, partition: Partition) -> ModelRunner:
        manifest = self._manifest
        return build_runner(
            self._config,
            self._weights,
            self._kv,
            manifest.kv,
            manifest.device,
            self._device.torch_device,
            partition.sm_count,
            self._settings.deterministic,
        )

    def _load_of(self, runner: ModelRunner) -> Load:
        page_size = self._manifest.kv.page_size
        if self._phase is Phase.PREFILL:
            return PrefillLoad(runner, self._conditions, page_size, self._config.vocab_size)
        decoding = decode_runner_for(runner, self._conditions.most_lanes, self._settings.deterministic)
        return DecodeLoad(decoding, self._conditions, page_size, self._config.vocab_size)

    def _let_go(self) -> None:
        """Memory that was allocated for one stream serves no other: it goes back to the device between two parts."""
        self._device.synchronize()
        self._partition, self._runner, self._load = None, None, None
        if self._device.torch_device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
