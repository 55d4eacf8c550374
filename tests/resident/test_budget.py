"""How many KV pages fit: plain numbers in, a number or one sentence out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import CannotStart
from engine.resident.budget import (
    CPU_POOL_BYTES,
    CPU_POOL_FRACTION,
    GIB,
    GROUP_BUDGET_BYTES,
    GROUPS,
    Demand,
    Supply,
    group_budget,
    kv_pages,
)

DEMAND = Demand(page_size=16, page_bytes=4096, max_model_len=100, max_running_requests=8)


def cpu(usable_bytes: int, weights_bytes: int = 0) -> Supply:
    return Supply("cpu", usable_bytes, weights_bytes, gpu_memory_fraction=0.9)


def cuda(usable_bytes: int, weights_bytes: int, fraction: float = 0.9) -> Supply:
    return Supply("cuda", usable_bytes, weights_bytes, fraction)


def test_a_cpu_with_room_holds_every_request_at_full_length_and_page_0() -> None:
    assert DEMAND.sequence_pages == 7
    assert kv_pages(DEMAND, cpu(GIB), None) == 7 * 8 + 1


def test_a_cpu_gives_a_quarter_of_its_memory_at_most() -> None:
    usable = 40 * DEMAND.page_bytes
    assert kv_pages(DEMAND, cpu(usable), None) == int(40 * CPU_POOL_FRACTION)


def test_a_cpu_gives_a_gibibyte_at_most() -> None:
    demand = Demand(page_size=16, page_bytes=1 << 20, max_model_len=2048, max_running_requests=64)
    assert kv_pages(demand, cpu(1024 * GIB), None) == CPU_POOL_BYTES // (1 << 20)


def test_a_gpu_gives_what_weights_and_two_groups_leave_of_its_share() -> None:
    usable, weights = 141 * GIB, 16 * GIB
    left = int(usable * 0.9) - weights - GROUPS * GROUP_BUDGET_BYTES
    assert kv_pages(DEMAND, cuda(usable, weights), None) == left // DEMAND.page_bytes


def test_a_gpu_leaves_each_group_what_the_user_says() -> None:
    supply = Supply("cuda", 141 * GIB, 16 * GIB, gpu_memory_fraction=0.9, group_bytes=GIB)
    assert kv_pages(DEMAND, supply, None) == (int(141 * GIB * 0.9) - 16 * GIB - 2 * GIB) // DEMAND.page_bytes


@pytest.mark.parametrize(("device", "asked", "given"), [("cuda", None, 4 * GIB), ("cuda", 5, 5), ("cpu", None, None)])
def test_a_group_is_given_what_was_asked_for_or_a_default_on_a_gpu(
    device, asked: int | None, given: int | None
) -> None:
    assert group_budget(device, asked) == given


@pytest.mark.parametrize("supply", [cpu(10 * GIB, GIB), cuda(100 * GIB, GIB)])
def test_what_the_user_asks_for_is_taken_in_whole_pages(supply: Supply) -> None:
    assert kv_pages(DEMAND, supply, 20 * DEMAND.page_bytes + 5) == 20


@pytest.mark.parametrize(
    ("supply", "asked"),
    [
        (cpu(7 * 4 * DEMAND.page_bytes), None),
        (cpu(GIB), 7 * DEMAND.page_bytes),
        (cuda(20 * GIB, 11 * GIB), None),
        (cuda(20 * GIB, GIB), 7 * DEMAND.page_bytes),
    ],
)
def test_too_little_for_one_sequence_is_refused_with_both_amounts(supply: Supply, asked: int | None) -> None:
    with pytest.raises(CannotStart, match=r"100 tokens needs 0\.0 MiB") as raised:
        kv_pages(DEMAND, supply, asked)
    assert "are available" in str(raised.value)
    assert "max_model_len" in str(raised.value)


def test_eight_pages_hold_one_sequence_of_seven() -> None:
    assert kv_pages(DEMAND, cpu(GIB), 8 * DEMAND.page_bytes) == 8


def test_the_amounts_in_the_sentence_are_those_of_the_case() -> None:
    demand = Demand(page_size=16, page_bytes=1 << 20, max_model_len=2048, max_running_requests=1)
    with pytest.raises(CannotStart, match=r"needs 129\.0 MiB .* 100\.0 MiB are available"):
        kv_pages(demand, cpu(GIB), 100 << 20)
    with pytest.raises(CannotStart, match=r"0\.0 MiB are available.*gpu_memory_fraction"):
        kv_pages(demand, cuda(GIB, GIB), None)


@pytest.mark.parametrize("supply", [cpu(10 * GIB, 9 * GIB), cuda(10 * GIB, 9 * GIB)])
def test_weights_and_pool_that_do_not_fit_together_are_refused(supply: Supply) -> None:
    with pytest.raises(CannotStart, match=r"need 11264\.0 MiB and 10240\.0 MiB are available"):
        kv_pages(DEMAND, supply, 2 * GIB)


@given(
    page_size=st.integers(1, 256),
    page_bytes=st.integers(1, 1 << 17),
    max_model_len=st.integers(2, 1 << 13),
    max_running_requests=st.integers(1, 4096),
    device=st.sampled_from(["cpu", "cuda"]),
    usable=st.integers(0, 200 * GIB),
    weights=st.integers(0, 20 * GIB),
    fraction=st.floats(0.01, 0.98),
    asked=st.none() | st.integers(1, 200 * GIB),
)
def test_what_is_granted_fits_and_serves_the_longest_sequence(
    page_size: int,
    page_bytes: int,
    max_model_len: int,
    max_running_requests: int,
    device: str,
    usable: int,
    weights: int,
    fraction: float,
    asked: int | None,
) -> None:
    demand = Demand(page_size, page_bytes, max_model_len, max_running_requests)
    supply = Supply("cpu" if device == "cpu" else "cuda", usable, weights, fraction)
    try:
        pages = kv_pages(demand, supply, asked)
    except CannotStart:
        return
    assert (pages - 1) * page_size >= max_model_len
    assert pages * page_bytes + weights <= usable
    if asked is not None:
        assert pages == asked // page_bytes
    elif device == "cpu":
        assert pages <= demand.sequence_pages * max_running_requests + 1
