"""The model over the resident's own bytes, with the kernels that suit a part of the device."""

from __future__ import annotations

from importlib import import_module

from engine.config import ServerArgs
from engine.device.device import Device
from engine.model.checkpoint import weights_of
from engine.model.config import ModelConfig
from engine.model.runner import ModelRunner, build_runner
from engine.resident.attachment import Attachment


class MappedModel:
    """Mapped once, whatever number of runners is made of it."""

    def __init__(self, memory: Attachment, device: Device, settings: ServerArgs):
        self._manifest = memory.manifest
        self._weights = weights_of(memory.map_weights(device), self._manifest.weights, self._manifest.dtype)
        self._kv_region = memory.map_kv(device)
        self._config = ModelConfig.load(settings.model_path)
        self._device = device
        self._is_deterministic = settings.deterministic
        self._runners: dict[bool, ModelRunner] = {}

    def runner(self, sm_count: int | None) -> ModelRunner:
        """To run on `sm_count` SMs, None for the whole device; the same one wherever the same kernels suit.

        A runner has a workspace and a table of positions for itself, 200 MiB on a large model.
        """
        kind = self._is_large(sm_count)
        if kind not in self._runners:
            self._runners[kind] = build_runner(
                self._config,
                self._weights,
                self._kv_region,
                self._manifest.kv,
                self._manifest.device,
                self._device.torch_device,
                sm_count,
                self._is_deterministic,
            )
        return self._runners[kind]

    def _is_large(self, sm_count: int | None) -> bool:
        """Parts of so many SMs have a kernel of their own for steps of one row."""
        if sm_count is None or self._manifest.device == "cpu" or self._is_deterministic:
            return True
        return sm_count >= import_module("engine.kernels.thin_linear").LEAST_SMS
