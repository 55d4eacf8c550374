"""A process that comes to a point somebody has armed, and those that come after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from bench.faults.point import Trap
from engine.fault_point import VARIABLE, FaultPoint

POINT, OTHER = FaultPoint.PREFILL_WRITTEN, FaultPoint.DECODE_WRITTEN
PROGRAM = f"""
from engine.fault_point import FaultPoint, reached
reached(FaultPoint.{OTHER.name})
print("before", flush=True)
input()
reached(FaultPoint.{POINT.name})
print("after", flush=True)
"""


def start(folder: Path | None) -> subprocess.Popen[str]:
    told = {VARIABLE: str(folder)} if folder else {}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **told},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "before\n"
    return process


def test_who_comes_first_stops_there_and_can_be_killed_or_go_on(tmp_path: Path) -> None:
    trap = Trap(tmp_path)
    for sign, said in ((signal.SIGKILL, ""), (signal.SIGCONT, "after\n")):
        with start(tmp_path) as process:
            trap.arm(POINT)
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert trap.caught(POINT) == process.pid
            process.send_signal(sign)
            assert process.stdout.read() == said
    with start(tmp_path) as unarmed:
        assert unarmed.communicate("\n")[0] == "after\n", "it is armed for one"


def test_a_point_to_which_nobody_came_is_armed_no_more(tmp_path: Path) -> None:
    trap = Trap(tmp_path)
    trap.arm(POINT)
    assert trap.caught(POINT, seconds=0.0) is None
    assert not list(tmp_path.iterdir())


def test_nothing_stops_where_nobody_asked() -> None:
    with start(None) as process:
        assert process.communicate("\n")[0] == "after\n"
