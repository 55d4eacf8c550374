"""The memory that outlives every group: weights, KV pages and the page ledger. It computes nothing with them."""

from __future__ import annotations

from typing import Any, Self

import torch
from msgspec.structs import replace

from engine.config import ServerArgs
from engine.device.cpu import MemfdRegion
from engine.device.device import Device, Region
from engine.errors import CannotStart, MemoryDamaged
from engine.model.checkpoint import fill_dummy, load_checkpoint
from engine.model.config import ModelConfig
from engine.model.layout import Layout, layout_of, pack
from engine.resident.budget import Demand, Supply, group_budget, kv_pages
from engine.resident.checksum import checksum
from engine.resident.manifest import KVSpec, Manifest
from engine.resident.progress import Progress
from engine.storage.ledger import Ledger


class Resident:
    """What this process owns, and the manifest that says so."""

    def __init__(self, manifest: Manifest, ledger: Region, weights: Region, kv: Region):
        self.manifest = manifest
        self._regions = (ledger, weights, kv)
        self._weights = weights.tensor
        self._weights_checksum = checksum(self._weights)

    @property
    def fds(self) -> list[int]:
        """The descriptors that go with the manifest: the ledger's, then those of the other memory that has one."""
        return [region.fd for region in self._regions if region.fd is not None]

    def check_weights(self) -> None:
        """Raises `MemoryDamaged` where they are not those that were loaded."""
        if checksum(self._weights) != self._weights_checksum:
            raise MemoryDamaged("The weights in memory are not those that were loaded: a process has written there.")

    @classmethod
    def load(cls, settings: ServerArgs, device: Device, log: Any) -> Self:
        """Allocate and fill everything, once. The settings are resolved for the device.

        Raises `CannotStart` for a model that cannot be served, or that does not fit; before the weights are read.
        """
        config = ModelConfig.load(settings.model_path)
        layout = layout_of(config)
        packed = pack(layout, settings.dtype)
        max_model_len = context_length(settings.max_model_len, config.max_position_embeddings)
        kv = size_kv(settings, config, max_model_len, device.usable_bytes(), packed.nbytes)

        weights_region = device.allocate(packed.nbytes, "semi-pd-weights")
        fill(weights_region.tensor, settings, layout, log)
        kv_region = device.allocate(kv.nbytes, "semi-pd-kv")
        ledger_region = make_ledger(kv.num_pages)
        device.synchronize()
        assert settings.device != "auto"
        manifest = Manifest(
            model_path=str(settings.model_path),
            device=settings.device,
            dtype=settings.dtype,
            max_model_len=max_model_len,
            weights=packed.specs,
            weights_memory=weights_region.memory,
            kv=kv,
            kv_memory=kv_region.memory,
            ledger_bytes=ledger_region.memory.nbytes,
        )
        return cls(manifest, ledger_region, weights_region, kv_region)


def context_length(wanted: int | None, model: int) -> int:
    """Tokens of the longest sequence: what the model was made for, or less."""
    if wanted is not None and wanted > model:
        raise CannotStart(f"The setting max_model_len cannot be {wanted}: the model's limit is {model} tokens.")
    return wanted or model


def size_kv(
    settings: ServerArgs, config: ModelConfig, max_model_len: int, usable_bytes: int, weights_bytes: int
) -> KVSpec:
    """The KV cache that fits beside the weights. Raises `CannotStart`."""
    assert settings.device != "auto"
    assert settings.max_running_requests, "settings are resolved for a device"
    empty = KVSpec(
        num_layers=config.num_layers,
        num_pages=0,
        page_size=settings.page_size,
        num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        dtype=settings.dtype,
    )
    demand = Demand(settings.page_size, empty.page_bytes, max_model_len, settings.max_running_requests)
    group_bytes = group_budget(settings.device, settings.group_memory_bytes) or 0
    supply = Supply(settings.device, usable_bytes, weights_bytes, settings.gpu_memory_fraction, group_bytes)
    return replace(empty, num_pages=kv_pages(demand, supply, settings.kv_memory_bytes))


def fill(region: torch.Tensor, settings: ServerArgs, layout: Layout, log: Any) -> None:
    """Load the weights, or make them up where `load_format` says so."""
    progress = Progress(lambda percentage: log.info(f"loading weights {percentage} %"))
    if settings.load_format == "dummy":
        fill_dummy(region, layout, settings.seed, settings.dtype, progress)
    else:
        load_checkpoint(settings.model_path, region, layout, settings.dtype, progress)


def make_ledger(num_pages: int) -> MemfdRegion:
    """An empty ledger in memory of the CPU, whatever the device is."""
    region = MemfdRegion(Ledger.bytes_for(num_pages), "semi-pd-ledger")
    Ledger.create(region.tensor.numpy(), num_pages)
    return region
