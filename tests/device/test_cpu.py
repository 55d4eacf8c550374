"""The CPU as a device: shared memory is shared, and a share is kept by resting."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest
import torch

from engine.allocation import Phase, SMAllocation, Splitter
from engine.device.cpu import CpuDevice, DutyPartition, MemfdRegion
from engine.device.open_device import open_device
from engine.errors import CannotStart, SemiPDError
from engine.resident.manifest import MemorySpec

NBYTES = 10_000

CHILD = """
import sys
from engine.device.cpu import CpuDevice
from engine.resident.manifest import MemorySpec
fd, nbytes = int(sys.argv[1]), int(sys.argv[2])
bytes_ = CpuDevice().map(MemorySpec(kind="memfd", nbytes=nbytes), fd)
assert bytes_[17] == 99, bytes_[17]
bytes_[18] = 101
"""


@pytest.fixture
def region() -> Iterator[MemfdRegion]:
    region = CpuDevice().allocate(NBYTES, "test")
    yield region
    assert region.fd is not None
    os.close(region.fd)


def test_a_region_is_zeroed_and_has_the_size_asked_for(region: MemfdRegion) -> None:
    assert region.tensor.dtype == torch.uint8
    assert region.tensor.shape == (NBYTES,)
    assert not region.tensor.any()
    assert region.memory == MemorySpec(kind="memfd", nbytes=NBYTES)


def test_mapping_shows_the_very_bytes_both_ways(region: MemfdRegion) -> None:
    mapped = CpuDevice().map(region.memory, region.fd)
    region.tensor[3] = 7
    mapped[NBYTES - 1] = 9
    assert mapped[3] == 7
    assert region.tensor[NBYTES - 1] == 9
    assert mapped.data_ptr() != region.tensor.data_ptr()


def test_another_process_maps_the_very_bytes(region: MemfdRegion) -> None:
    assert region.fd is not None
    region.tensor[17] = 99
    subprocess.run([sys.executable, "-c", CHILD, str(region.fd), str(NBYTES)], pass_fds=[region.fd], check=True)
    assert region.tensor[18] == 101


def test_a_mapping_outlives_the_descriptor() -> None:
    region = CpuDevice().allocate(NBYTES, "test")
    assert region.fd is not None
    mapped = CpuDevice().map(region.memory, region.fd)
    region.tensor[5] = 42
    os.close(region.fd)
    del region
    assert mapped[5] == 42


def test_the_descriptor_is_not_inherited(region: MemfdRegion) -> None:
    assert region.fd is not None
    assert not os.get_inheritable(region.fd)


@pytest.mark.parametrize("memory", [MemorySpec("cuda_ipc", 8, b"handle"), MemorySpec("memfd", 8)])
def test_what_is_no_memfd_cannot_be_mapped(memory: MemorySpec) -> None:
    with pytest.raises(SemiPDError, match="memfd"):
        CpuDevice().map(memory, None)


def test_usable_memory_is_a_part_of_what_is_available() -> None:
    assert 0 < CpuDevice().usable_bytes() < psutil.virtual_memory().total


def test_open_device_opens_the_cpu_without_touching_cuda() -> None:
    assert open_device("cpu").torch_device == torch.device("cpu")
    program = "import sys; from engine.device.open_device import open_device; open_device('cpu'); "
    program += "sys.exit('engine.device.cuda' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def ticking(*readings: float) -> Callable[[], float]:
    return iter(readings).__next__


@pytest.mark.parametrize(("share", "rest"), [(80, 0.5), (50, 2.0), (20, 8.0), (1, 198.0), (100, 0.0)])
def test_rest_brings_the_share_of_cpu_time_to_what_was_asked(share: int, rest: float) -> None:
    partition = DutyPartition(Splitter.DUTY, share, ticking(10.0, 12.0))
    with partition.step():
        pass
    assert partition.rest_seconds == pytest.approx(rest)
    assert 2.0 / (2.0 + partition.rest_seconds) == pytest.approx(share / 100)


def test_rest_is_that_of_the_last_step_alone() -> None:
    partition = DutyPartition(Splitter.DUTY, 50, ticking(0.0, 4.0, 10.0, 11.0))
    assert partition.rest_seconds == 0.0
    with partition.step():
        pass
    assert partition.rest_seconds == 4.0
    with partition.step():
        pass
    assert partition.rest_seconds == 1.0


def test_a_step_that_fails_is_rested_for_too() -> None:
    partition = DutyPartition(Splitter.DUTY, 50, ticking(0.0, 3.0))
    with pytest.raises(ValueError, match="broken"), partition.step():
        raise ValueError("broken")
    assert partition.rest_seconds == 3.0


def test_without_a_splitter_there_is_no_rest() -> None:
    partition = DutyPartition(Splitter.NONE, 20, ticking(0.0, 3.0))
    with partition.step():
        pass
    assert partition.rest_seconds == 0.0


def test_a_partition_has_its_phases_share() -> None:
    device, allocation = CpuDevice(), SMAllocation(70, 40)
    assert device.partition(Phase.PREFILL, allocation, Splitter.DUTY).share_percentage == 70
    assert device.partition(Phase.DECODE, allocation, Splitter.DUTY).share_percentage == 40
    assert device.partition(Phase.DECODE, allocation, Splitter.NONE).sm_count == 0


@pytest.mark.parametrize("splitter", [Splitter.GREEN, Splitter.MPS])
def test_a_gpus_splitter_is_refused(splitter: Splitter) -> None:
    with pytest.raises(CannotStart, match=f"'{splitter}'"):
        CpuDevice().partition(Phase.DECODE, SMAllocation(50, 50), splitter)
