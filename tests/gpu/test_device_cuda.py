"""A real GPU as a device: memory that another process maps, and parts of the chip that do not overlap."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import torch

from appliance.mps import MPS_CONTROL, MpsDaemon, visible_gpu
from engine.allocation import WHOLE, Phase, SMAllocation, Splitter
from engine.device.open_device import open_device
from engine.errors import CannotStart, SemiPDError
from engine.resident.manifest import MemorySpec

if TYPE_CHECKING:
    from engine.device.cuda import CudaDevice, StreamPartition

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]

PREFILL_SHARES = [10, 20, 36, 50, 64, 80, 90]
NBYTES = 3_000_001

CHILD = """
import sys
import torch
from engine.allocation import Phase, SMAllocation, Splitter
from engine.device.open_device import open_device
from engine.resident.manifest import MemorySpec

device = open_device("cuda")
memory = MemorySpec(kind="cuda_ipc", nbytes=int(sys.argv[1]), handle=bytes.fromhex(sys.argv[2]))
mapped = device.map(memory, None)
assert mapped.dtype == torch.uint8 and mapped.shape == (memory.nbytes,) and mapped.is_cuda
partition = device.partition(Phase.DECODE, SMAllocation(64, 36), Splitter.GREEN)
with partition.step():
    assert mapped[17].item() == 99, mapped[17]
    mapped[18] = 101
    mapped[-1] = partition.sm_count
device.synchronize()
"""

WHICH_SM = r"""
extern "C" __global__ void which_sm(int* seen) {
    unsigned int sm;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
    long long start = clock64();
    while (clock64() - start < 200000) {}
    if (threadIdx.x == 0) seen[blockIdx.x] = sm;
}
"""


@pytest.fixture(scope="module")
def device() -> CudaDevice:
    from engine.device.cuda import CudaDevice  # noqa: PLC0415  needs packages that a CPU box has not

    device = open_device("cuda", "0")
    assert isinstance(device, CudaDevice)
    return device


@pytest.fixture(scope="module")
def total(device: CudaDevice) -> int:
    return torch.cuda.get_device_properties(device.torch_device).multi_processor_count


def pair(device: CudaDevice, prefill_share: int) -> tuple[StreamPartition, StreamPartition]:
    """Prefill's and decode's part of a complementary split."""
    allocation = SMAllocation(prefill_share, 100 - prefill_share)
    return (
        device.partition(Phase.PREFILL, allocation, Splitter.GREEN),
        device.partition(Phase.DECODE, allocation, Splitter.GREEN),
    )


def sms_used(partition: StreamPartition) -> set[int]:
    """The SMs on which blocks of a kernel launched in this part ran: enough long blocks to reach all of them."""
    kernel = torch.cuda._compile_kernel(WHICH_SM, "which_sm")
    blocks = 132 * 16
    with partition.step():
        seen = torch.full((blocks,), -1, dtype=torch.int32, device="cuda")
        kernel(grid=(blocks, 1, 1), block=(1024, 1, 1), args=[seen])
    torch.cuda.synchronize()
    return set(seen.tolist())


def test_a_region_is_zeroed_and_has_the_size_asked_for(device: CudaDevice) -> None:
    before = device.usable_bytes()
    region = device.allocate(64 << 20, "test")
    assert not region.tensor.any()
    assert region.tensor.shape == (64 << 20,)
    assert region.fd is None
    assert region.memory.nbytes == 64 << 20
    assert before - device.usable_bytes() >= 64 << 20


def test_memory_lives_as_long_as_a_view_of_it_and_no_longer(device: CudaDevice) -> None:
    free = device.usable_bytes()
    region = device.allocate(256 << 20, "test")
    view = region.tensor[1000:1010].view(torch.bfloat16)
    view.fill_(2.0)
    del region
    gc.collect()
    assert device.usable_bytes() <= free - (256 << 20)
    assert (view == 2.0).all()
    del view
    gc.collect()
    assert device.usable_bytes() > free - (256 << 20)


def share_with_a_child(device: CudaDevice, environment: dict[str, str]) -> int:
    """Let another process map memory of this one; both see what the other wrote. Returns the SMs of its part."""
    region = device.allocate(NBYTES, "test")
    region.tensor[17] = 99
    device.synchronize()
    command = [sys.executable, "-c", CHILD, str(NBYTES), region.memory.handle.hex()]
    subprocess.run(command, check=True, env=os.environ | environment, timeout=120)
    assert region.tensor[18].item() == 101
    return int(region.tensor[-1].item())


def test_another_process_maps_the_very_bytes(device: CudaDevice, total: int) -> None:
    prefill, decode = pair(device, 64)
    assert share_with_a_child(device, {}) == decode.sm_count
    assert prefill.sm_count + decode.sm_count == total


@pytest.fixture
def mps() -> Iterator[MpsDaemon]:
    directory = Path(tempfile.mkdtemp(prefix="mps-"))
    daemon = MpsDaemon("a", directory / "pipe", directory / "log", visible_gpu("0", os.environ))
    daemon.start()
    yield daemon
    daemon.stop()
    shutil.rmtree(directory)


@pytest.mark.skipif(not shutil.which(MPS_CONTROL), reason=f"{MPS_CONTROL} is not installed")
def test_a_client_of_mps_maps_memory_from_outside_of_it_in_its_own_part(device: CudaDevice, mps: MpsDaemon) -> None:
    assert share_with_a_child(device, mps.client_environment) == pair(device, 64)[1].sm_count


def test_a_handle_of_nothing_is_an_error_with_cudas_name(device: CudaDevice) -> None:
    with pytest.raises(SemiPDError, match="cuIpcOpenMemHandle failed with CUDA_ERROR_"):
        device.map(MemorySpec("cuda_ipc", 64, bytes(64)), None)
    with pytest.raises(SemiPDError, match="not by memfd"):
        device.map(MemorySpec("memfd", 64), None)


def test_too_much_memory_is_an_error_with_cudas_name(device: CudaDevice) -> None:
    with pytest.raises(SemiPDError, match="CUDA_ERROR_OUT_OF_MEMORY"):
        device.allocate(1 << 50, "test")
    assert torch.ones(4, device="cuda").sum().item() == 4


@pytest.mark.parametrize("share", PREFILL_SHARES)
def test_complementary_parts_are_disjoint_and_complete(device: CudaDevice, total: int, share: int) -> None:
    prefill, decode = pair(device, share)
    of_prefill, of_decode = sms_used(prefill), sms_used(decode)
    assert -1 not in of_prefill | of_decode
    assert len(of_prefill) == prefill.sm_count
    assert len(of_decode) == decode.sm_count
    assert not of_prefill & of_decode
    assert len(of_prefill | of_decode) == total
    assert abs(prefill.sm_count - share * total / 100) <= 8


def test_a_share_of_100_is_the_whole_chip(device: CudaDevice, total: int) -> None:
    for splitter in (Splitter.GREEN, Splitter.MPS, Splitter.NONE):
        whole = device.partition(Phase.DECODE, WHOLE, splitter)
        assert whole.sm_count == total
        assert whole.rest_seconds == 0.0
    assert len(sms_used(device.partition(Phase.DECODE, SMAllocation(80, 100), Splitter.GREEN))) == total


def test_without_a_splitter_a_share_is_the_whole_chip_too(device: CudaDevice, total: int) -> None:
    assert device.partition(Phase.PREFILL, SMAllocation(50, 50), Splitter.NONE).sm_count == total


def test_what_cannot_split_a_gpu_is_refused(device: CudaDevice) -> None:
    with pytest.raises(CannotStart, match="'duty'"):
        device.partition(Phase.PREFILL, SMAllocation(50, 50), Splitter.DUTY)
    with pytest.raises(SemiPDError, match="CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"):
        device.partition(Phase.PREFILL, SMAllocation(50, 50), Splitter.MPS)


@pytest.fixture(scope="module")
def factors(device: CudaDevice) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator(device.torch_device).manual_seed(1)
    a = torch.randn((2048, 4096), device="cuda", dtype=torch.bfloat16, generator=generator)
    b = torch.randn((4096, 6144), device="cuda", dtype=torch.bfloat16, generator=generator)
    return a, b


def product(partition: StreamPartition, factors: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Into memory full of NaN: what is not written is seen."""
    out = torch.full((2048, 6144), float("nan"), device="cuda", dtype=torch.bfloat16)
    torch.cuda.synchronize()
    with partition.step():
        torch.mm(*factors, out=out)
    torch.cuda.synchronize()
    return out


@pytest.mark.parametrize("share", PREFILL_SHARES)
def test_a_product_is_the_same_in_every_part_bit_for_bit(
    device: CudaDevice, factors: tuple[torch.Tensor, torch.Tensor], share: int
) -> None:
    whole = product(device.partition(Phase.PREFILL, WHOLE, Splitter.NONE), factors)
    assert not whole.isnan().any()
    exact = factors[0].double() @ factors[1].double()
    assert torch.allclose(whole.double(), exact, rtol=1e-2, atol=1.0)
    for part in pair(device, share):
        assert torch.equal(product(part, factors), whole)


def test_a_gpu_is_found_by_its_uuid(device: CudaDevice) -> None:
    uuid = torch.cuda.get_device_properties(device.torch_device).uuid
    assert open_device("cuda", f"GPU-{uuid}").torch_device == device.torch_device
    with pytest.raises(CannotStart, match=str(uuid)):
        open_device("cuda", "GPU-ffffffff")


def test_products_made_for_a_part_are_right_and_the_whole_chips_own_are_back_afterwards(
    factors: tuple[torch.Tensor, torch.Tensor],
) -> None:
    device = cast("CudaDevice", open_device("cuda", "0", fits_products=True))
    whole = device.partition(Phase.PREFILL, WHOLE, Splitter.GREEN)
    part = device.partition(Phase.PREFILL, SMAllocation(67, 100), Splitter.GREEN)
    before = product(whole, factors)
    exact = factors[0].double() @ factors[1].double()
    assert torch.allclose(product(part, factors).double(), exact, rtol=1e-2, atol=1.0)
    assert torch.equal(product(whole, factors), before)
