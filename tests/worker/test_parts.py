"""Which parts a worker can take, when, and in which order steps in different parts run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.allocation import Phase, Splitter
from engine.device.cpu import CpuDevice
from engine.device.device import Partition
from engine.worker.parts import Parts
from engine.worker.preparation import Preparation
from tests.worker.fake_device import FakeDevice


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


def parts_on(device: FakeDevice, share: int = 40, may_change: bool = True) -> Parts:
    return Parts(device, Phase.DECODE, Splitter.GREEN, share, may_change=may_change)


def two_pieces(partition: Partition) -> Iterator[None]:
    yield
    yield


def test_a_step_follows_the_last_wherever_it_was(device: FakeDevice) -> None:
    parts = parts_on(device)
    for part in (parts.in_force, parts.in_force, parts.whole, parts.in_force):
        with parts.step(part):
            pass
    assert device.log == ["step on 40", "step on 40", "100 behind 40", "step on 100", "40 behind 100", "step on 40"]


def test_what_was_not_prepared_cannot_be_taken(device: FakeDevice) -> None:
    parts = parts_on(device)
    assert parts.prepared == (40,)
    with pytest.raises(AssertionError, match="a share of 50 % was not prepared"):
        parts.take(50)
    parts.is_prepared(50)
    parts.take(50)
    assert parts.in_force.sm_count == 50 and parts.prepared == (40, 50)


def test_a_part_is_prepared_when_all_its_pieces_are_done_there(device: FakeDevice) -> None:
    parts = parts_on(device)
    preparation = Preparation(parts, [100, 50], two_pieces)
    assert not parts.can_borrow, "the whole device is not prepared yet"
    assert [preparation.advance() for _ in range(3)] == [False, False, True]
    assert parts.can_borrow and not preparation.is_over
    assert device.log == ["100 behind 40", "step on 100", "step on 100", "step on 100"]
    preparation.advance_while(lambda: True)
    assert preparation.is_over and parts.prepared == (40, 50, 100)


def test_preparation_stops_where_it_is_told_to(device: FakeDevice) -> None:
    parts = parts_on(device)
    preparation = Preparation(parts, [100], two_pieces)
    preparation.advance_while(lambda: not device.log)
    assert len(device.log) == 2 and not preparation.is_over


def test_who_has_the_whole_device_has_nothing_to_borrow(device: FakeDevice) -> None:
    assert not parts_on(device, share=100).can_borrow


def test_without_in_place_only_its_own_share_is_prepared(device: FakeDevice) -> None:
    parts = parts_on(device, may_change=False)
    parts.is_prepared(100)
    assert parts.prepared == (40,) and parts.can_borrow
    with pytest.raises(AssertionError):
        parts.take(100)


def test_where_a_share_is_a_number_any_can_be_taken() -> None:
    parts = Parts(CpuDevice(), Phase.PREFILL, Splitter.DUTY, 30, may_change=True)
    assert parts.prepared is None and parts.can_borrow and not parts.needs_preparation
    parts.take(73)
    assert parts.in_force.share_percentage == 73


def test_a_share_of_mps_is_fixed(device: FakeDevice) -> None:
    parts = Parts(device, Phase.DECODE, Splitter.MPS, 50, may_change=True)
    assert parts.whole is parts.in_force and not parts.needs_preparation
    assert parts.prepared == (50,) and not parts.can_borrow
