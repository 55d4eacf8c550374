"""What the environment has decided before CUDA starts."""

from __future__ import annotations

import pytest

from engine.device.environment import MPS_PERCENTAGE, VISIBLE_DEVICES, check_mps_share, gpu_index
from engine.errors import CannotStart, SemiPDError

UUIDS = ["aaaa-1", "aabb-2", "bbbb-3"]


@pytest.mark.parametrize(("gpu", "index"), [("0", 0), ("2", 2), ("GPU-bbbb-3", 2), ("GPU-aabb", 1), ("bbbb", 2)])
def test_a_gpu_is_named_by_index_or_uuid(gpu: str, index: int) -> None:
    assert gpu_index(gpu, UUIDS, {}) == index


@pytest.mark.parametrize("gpu", ["3", "GPU-cccc", "GPU-aa", "-1"])
def test_a_gpu_that_is_not_there_or_not_clear_is_refused_with_those_that_are(gpu: str) -> None:
    with pytest.raises(CannotStart, match=r"1 \(GPU-aabb-2\)"):
        gpu_index(gpu, UUIDS, {})


def test_an_index_that_whoever_started_the_process_has_narrowed_to_one_gpu_is_that_gpu() -> None:
    assert gpu_index("5", ["aaaa-1"], {VISIBLE_DEVICES: "GPU-aaaa-1"}) == 0
    with pytest.raises(CannotStart):
        gpu_index("5", ["aaaa-1"], {})
    with pytest.raises(CannotStart):
        gpu_index("5", UUIDS, {VISIBLE_DEVICES: "1,2,3"})


def test_an_mps_share_must_be_the_one_the_process_was_started_with() -> None:
    check_mps_share(25, {MPS_PERCENTAGE: "25"})
    check_mps_share(100, {})
    with pytest.raises(SemiPDError, match="at 100"):
        check_mps_share(25, {})
    with pytest.raises(SemiPDError, match="at 50"):
        check_mps_share(100, {MPS_PERCENTAGE: "50"})
