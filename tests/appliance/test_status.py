"""What `semi-pd status` shows of the split: how it was reached, and how much of its time each phase borrowed."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console, RenderableType

from appliance.rotation.description import describe_scheduler
from appliance.rotation.history import RotationRecord
from appliance.status import headline, show_rotations, worker_table
from engine.allocation import SMAllocation
from engine.wire.to_controller import Status, WorkerStatus


def text_of(shown: RenderableType) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def status(**more: Any) -> dict[str, Any]:
    return {
        "model": "demo",
        "device": "cpu",
        "started_at": None,
        "health": {"healthy": True, "reason": ""},
        "split_in_force": "60/40",
        "split_asked": "60/40",
        "split_reached": "in place",
        "splitter": "duty",
        "rotating": False,
        **more,
    }


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({}, "split 60/40 by duty, reached in place\n"),
        ({"split_reached": None}, "split 60/40 by duty\n"),
        ({"rotating": True, "split_asked": "70/30"}, "split 60/40 by duty, reached in place, 70/30 is asked for\n"),
    ],
)
def test_the_split_how_it_was_reached_and_what_is_asked_for(more: dict[str, Any], line: str) -> None:
    assert text_of(headline(status(**more), now=0.0)).endswith(line)


def test_each_workers_sms_and_the_part_of_its_time_that_it_borrowed() -> None:
    workers = tuple(
        WorkerStatus(1, "a", (phase,), pid, "green", share, sms, True, 10, 8.0, borrowed)
        for phase, pid, share, sms, borrowed in (("prefill", 7, 60, 80, 2.0), ("decode", 8, 40, 52, 0.0))
    )
    described = describe_scheduler(Status(True, 0, 0, 0, 100, 100, 0, workers))["workers"]
    assert [worker["borrowed_part"] for worker in described] == [0.25, 0.0]
    (decode, prefill) = text_of(worker_table(described)).splitlines()[1:3]
    assert decode.split()[-7:] == ["40", "%", "52", "10", "8.0", "s", "0%"]
    assert prefill.split()[-7:] == ["60", "%", "80", "10", "8.0", "s", "25%"]


def test_rotations_tell_the_pause_that_streams_saw() -> None:
    """A release before this kept none; the record of one that is under way has none yet."""
    told = RotationRecord(1, SMAllocation(60, 40), "", 0.0, streams=5, pause_ms=9.0, median_pause_ms=2.0).as_dict()
    quiet = RotationRecord(2, SMAllocation(60, 40), "", 0.0, streams=0).as_dict()
    old = {name: value for name, value in told.items() if name != "pause"}
    console = Console(width=250)
    with console.capture() as capture:
        show_rotations([told, quiet, old], console)
    cells = [line.split("│")[-2].strip() for line in capture.get().splitlines() if line.startswith("│")]
    assert cells == ["5 streams paused, 9.0 ms at most, median 2.0 ms", "no stream was under way", "–"]
