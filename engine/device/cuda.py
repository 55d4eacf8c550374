"""One NVIDIA GPU as a device: memory by CUDA IPC, parts of the chip by green contexts. Imported only on demand."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

import torch

from engine.allocation import Phase, SMAllocation, Splitter
from engine.device.cuda_driver import call, driver
from engine.device.cuda_memory import CudaRegion, map_ipc
from engine.device.environment import check_mps_share, gpu_index
from engine.device.green import green_stream, sm_grid
from engine.errors import CannotStart, SemiPDError
from engine.resident.manifest import MemorySpec


class StreamPartition:
    """A part of the GPU is a stream: what is put on it runs on that part's SMs."""

    rest_seconds = 0.0

    def __init__(self, splitter: Splitter, share_percentage: int, sm_count: int, stream: torch.cuda.Stream):
        self.splitter = splitter
        self.share_percentage = share_percentage
        self.sm_count = sm_count
        self.stream = stream
        # What was prepared before the partition was taken is there when its first step runs. Later work outside of a
        # step is not waited for: each step would pay for it.
        stream.wait_stream(torch.cuda.current_stream(stream.device))

    def step(self) -> AbstractContextManager[None]:
        return torch.cuda.stream(self.stream)


class CudaDevice:
    """The GPU `gpu` names; torch's context of it is made the current one of this thread. Raises `CannotStart`.

    `gpu` is an index among the GPUs this process sees, or a UUID (`GPU-…`), which may be cut short.
    """

    def __init__(self, gpu: str):
        if not torch.cuda.is_available():
            raise CannotStart(f"The GPU {gpu} cannot be used: torch sees no CUDA device.")
        uuids = [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]
        index = gpu_index(gpu, uuids, os.environ)
        self.torch_device = torch.device("cuda", index)
        torch.cuda.init()
        torch.cuda.set_device(index)
        torch.cuda.synchronize(index)  # makes the context: the driver's own calls act on the current one

    def usable_bytes(self) -> int:
        return torch.cuda.mem_get_info(self.torch_device)[0]

    def allocate(self, nbytes: int, name: str) -> CudaRegion:
        return CudaRegion(nbytes, self.torch_device)

    def map(self, memory: MemorySpec, fd: int | None) -> torch.Tensor:
        if memory.kind != "cuda_ipc":
            raise SemiPDError(f"A GPU maps memory by a CUDA IPC handle, not by {memory.kind}.")
        return map_ipc(memory, self.torch_device)

    def partition(self, phase: Phase, allocation: SMAllocation, splitter: Splitter) -> StreamPartition:
        share = allocation.share(phase)
        if splitter is Splitter.DUTY:
            raise CannotStart("The setting splitter cannot be 'duty' on a GPU: 'green', 'mps' and 'none' can.")
        if splitter is Splitter.GREEN and share < 100:
            stream, sm_count = green_stream(sm_grid().part(phase, allocation), self.torch_device)
            return StreamPartition(splitter, share, sm_count, stream)
        if splitter is Splitter.MPS:
            check_mps_share(share, os.environ)
        return StreamPartition(splitter, share, self._sm_count(), torch.cuda.Stream(self.torch_device))

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.torch_device)

    def _sm_count(self) -> int:
        """SMs this process may use; under an MPS share the driver counts only those."""
        attribute = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
        return call(driver.cuDeviceGetAttribute, attribute, call(driver.cuCtxGetDevice))
