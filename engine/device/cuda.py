"""One NVIDIA GPU as a device: memory by CUDA IPC, parts of the chip by green contexts. Imported only on demand."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

import torch

from engine.allocation import Phase, SMAllocation, Splitter
from engine.device.cuda_driver import call, driver
from engine.device.cuda_memory import CudaRegion, map_ipc
from engine.device.device import Partition
from engine.device.environment import check_mps_share, gpu_index
from engine.device.green import GreenStream, green_stream, sm_grid
from engine.device.product_sms import WHOLE_CHIP, divide_products_among
from engine.errors import CannotStart, SemiPDError
from engine.nvml import GpuMemory
from engine.resident.manifest import MemorySpec


class StreamPartition:
    """A part of the GPU is a stream: what is put on it runs on that part's SMs.

    `product_sms`: how many of them cuBLAS is told of at each step, None for nothing.
    """

    rest_seconds = 0.0

    def __init__(
        self,
        splitter: Splitter,
        share_percentage: int,
        sm_count: int,
        stream: torch.cuda.Stream,
        *,
        is_whole: bool,
        product_sms: int | None = None,
    ):
        self.splitter = splitter
        self.share_percentage = share_percentage
        self.sm_count = sm_count
        self.stream = stream
        self.is_whole = is_whole
        self._product_sms = product_sms
        # What was prepared before the partition was taken is there when its first step runs. Later work outside of a
        # step is not waited for: each step would pay for it.
        stream.wait_stream(torch.cuda.current_stream(stream.device))

    def follow(self, other: Partition) -> None:
        assert isinstance(other, StreamPartition), "parts of one device are of one kind"
        self.stream.wait_stream(other.stream)

    def step(self) -> AbstractContextManager[None]:
        if self._product_sms is not None:
            divide_products_among(self._product_sms)
        return torch.cuda.stream(self.stream)


class CudaDevice:
    """The GPU `gpu` names; torch's context of it is made the current one of this thread. Raises `CannotStart`.

    `gpu` is an index among the GPUs this process sees, or a UUID (`GPU-…`), which may be cut short.

    Splits that come out as the same SMs share a stream, and with it the graphs that were captured there. With
    `fits_products` prefill's matrix products are made for the SMs of its part: faster, with other last bits.
    """

    has_any_share = False

    def __init__(self, gpu: str, *, fits_products: bool = False):
        if not torch.cuda.is_available():
            raise CannotStart(f"The GPU {gpu} cannot be used: torch sees no CUDA device.")
        uuids = [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]
        index = gpu_index(gpu, uuids, os.environ)
        self.torch_device = torch.device("cuda", index)
        torch.cuda.init()
        torch.cuda.set_device(index)
        torch.cuda.synchronize(index)  # makes the context: the driver's own calls act on the current one
        self._whole = torch.cuda.Stream(self.torch_device)
        self._green: dict[range, GreenStream] = {}
        self._fits_products = fits_products

    def usable_bytes(self) -> int:
        return torch.cuda.mem_get_info(self.torch_device)[0]

    def used_bytes(self) -> int:
        """By the driver's count. Where it does not tell, what torch has: without context, loaded code and graphs."""
        uuid = torch.cuda.get_device_properties(self.torch_device).uuid
        counted = GpuMemory(f"GPU-{uuid}").process_bytes(os.getpid())
        return torch.cuda.memory_reserved(self.torch_device) if counted is None else counted

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
            stream, sm_count = self._green_stream(sm_grid().part(phase, allocation))
            return self._part(phase, splitter, share, sm_count, stream, is_whole=False)
        if splitter is Splitter.MPS:
            check_mps_share(share, os.environ)
        return self._part(phase, splitter, share, self._sm_count(), self._whole, is_whole=True)

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.torch_device)

    def _part(
        self, phase: Phase, splitter: Splitter, share: int, sm_count: int, stream: torch.cuda.Stream, *, is_whole: bool
    ) -> StreamPartition:
        """Decode's products wait for memory: they are no faster for being fitted."""
        product_sms = (WHOLE_CHIP if is_whole else sm_count) if self._fits_products and phase is Phase.PREFILL else None
        return StreamPartition(splitter, share, sm_count, stream, is_whole=is_whole, product_sms=product_sms)

    def _green_stream(self, part: range) -> GreenStream:
        if part not in self._green:
            self._green[part] = green_stream(part, self.torch_device)
        return self._green[part]

    def _sm_count(self) -> int:
        """SMs this process may use; under an MPS share the driver counts only those."""
        attribute = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
        return call(driver.cuDeviceGetAttribute, attribute, call(driver.cuCtxGetDevice))
