"""GPU memory that several processes map: allocated by the driver, passed on as a CUDA IPC handle, seen as a tensor."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch

from engine.device.cuda_driver import call, driver
from engine.resident.manifest import MemorySpec

_BLOCK_BYTES = 2 << 20
"""Smaller allocations share a block of this size, and an IPC handle shows the whole block to whoever opens it."""


class DeviceBytes:
    """`nbytes` at a device address; torch wraps it without a copy and keeps it alive as long as any view of it."""

    def __init__(self, address: int, nbytes: int, release: Callable[[Any], Any]):
        self.__cuda_array_interface__ = {
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": (address, False),
            "strides": None,
            "version": 3,
        }
        finalizer = weakref.finalize(self, _give_back, release, address)
        finalizer.atexit = False  # the driver does it when the process ends, in the right order

    def tensor(self, device: torch.device) -> torch.Tensor:
        """These very bytes: uint8 [nbytes]."""
        return torch.as_tensor(self, device=device)


def _give_back(release: Callable[[Any], Any], address: int) -> None:
    call(driver.cuCtxSynchronize)  # a kernel that still runs may touch the bytes
    call(release, address)


class CudaRegion:
    """Zeroed memory of this process that others may map for as long as this process lives."""

    fd: int | None = None

    def __init__(self, nbytes: int, device: torch.device):
        address = int(call(driver.cuMemAlloc, -(-nbytes // _BLOCK_BYTES) * _BLOCK_BYTES))
        self._tensor = DeviceBytes(address, nbytes, driver.cuMemFree).tensor(device)
        call(driver.cuMemsetD8, address, 0, nbytes)
        call(driver.cuCtxSynchronize)  # whoever maps the memory next knows nothing of our streams
        handle = call(driver.cuIpcGetMemHandle, address)
        self.memory = MemorySpec(kind="cuda_ipc", nbytes=nbytes, handle=bytes(handle.reserved))

    @property
    def tensor(self) -> torch.Tensor:
        return self._tensor


def map_ipc(memory: MemorySpec, device: torch.device) -> torch.Tensor:
    """The bytes of another process's `CudaRegion`: uint8 [nbytes]."""
    handle = driver.CUipcMemHandle()
    handle.reserved = memory.handle
    flags = driver.CUipcMem_flags.CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS
    address = int(call(driver.cuIpcOpenMemHandle, handle, int(flags)))
    return DeviceBytes(address, memory.nbytes, driver.cuIpcCloseMemHandle).tensor(device)
