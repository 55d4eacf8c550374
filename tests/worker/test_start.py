"""What a worker is told to prepare, and from whom it may borrow."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.allocation import Phase, SMAllocation, Splitter
from engine.config import PortArgs, ServerArgs
from engine.device.cpu import CpuDevice
from engine.device.device import Device
from engine.wire.to_worker import Assignment
from engine.worker.start import other_phase_of, parts_of, shares_to_prepare
from tests.worker.fake_device import FakeDevice

BESIDE = (SMAllocation(40, 60), SMAllocation(60, 40))


def assignment(*phases: Phase) -> Assignment:
    return Assignment(1, "a", phases, 50, 50, prepare=BESIDE)


def shares(device: Device, *phases: Phase, **settings: object) -> list[int]:
    given = ServerArgs(device="cpu", **{"splitter": Splitter.GREEN, **settings})  # type: ignore[arg-type]
    wanted = assignment(*phases)
    return shares_to_prepare(wanted, given, parts_of(wanted, given, device))


@pytest.mark.parametrize(("phase", "wanted"), [(Phase.PREFILL, [100, 40, 60]), (Phase.DECODE, [100, 60, 40])])
def test_the_whole_device_comes_first_then_its_own_share_of_each_split(phase: Phase, wanted: list[int]) -> None:
    assert shares(FakeDevice(), phase) == wanted


def test_settings_leave_either_out() -> None:
    assert shares(FakeDevice(), Phase.DECODE, in_place=False) == [100]
    assert shares(FakeDevice(), Phase.DECODE, in_place=False, borrowing=False) == []
    assert shares(FakeDevice(), Phase.DECODE, borrowing=False) == [100, 60, 40]


def test_where_a_share_is_a_number_nothing_is_to_be_prepared() -> None:
    assert shares(CpuDevice(), Phase.DECODE, splitter=Splitter.DUTY) == []


def test_a_worker_with_both_phases_has_the_device_and_nobody_to_borrow_from(tmp_path: Path) -> None:
    both = assignment(*Phase)
    settings = ServerArgs(device="cpu", splitter=Splitter.GREEN)
    parts = parts_of(both, settings, FakeDevice())
    assert parts.in_force.splitter is Splitter.NONE and parts.prepared == (50,)
    assert shares_to_prepare(both, settings, parts) == []
    assert other_phase_of(both, settings, PortArgs(tmp_path)) is None


def test_nobody_is_borrowed_from_where_that_is_set_off(tmp_path: Path) -> None:
    settings = ServerArgs(device="cpu", borrowing=False)
    assert other_phase_of(assignment(Phase.DECODE), settings, PortArgs(tmp_path)) is None
    assert other_phase_of(assignment(Phase.DECODE), ServerArgs(device="cpu"), PortArgs(tmp_path)) is not None
