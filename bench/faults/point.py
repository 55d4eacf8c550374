"""Where a process is struck exactly: whose each point is, what brings somebody to it, and how he is stopped there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.faults.victim import COUNTED_AS, Victim
from engine.fault_point import FaultPoint

REACHED_SECONDS = 60.0
LOOK_SECONDS = 0.005


class Place(NamedTuple):
    """Who comes to a point. By the load alone, or else in a rotation, or when another has been killed: `after`."""

    victim: Victim
    in_rotation: bool = False
    after: Victim | None = None


PLACES = {
    FaultPoint.PREFILL_ORDERED: Place(Victim.PREFILL),
    FaultPoint.PREFILL_WRITTEN: Place(Victim.PREFILL),
    FaultPoint.DECODE_JOINED: Place(Victim.DECODE),
    FaultPoint.DECODE_WRITTEN: Place(Victim.DECODE),
    FaultPoint.WORKER_REPORTED: Place(Victim.DECODE),
    FaultPoint.WORKER_MAPPED: Place(Victim.DECODE, in_rotation=True),
    FaultPoint.WORKER_READY: Place(Victim.DECODE, in_rotation=True),
    FaultPoint.WORKER_DRAINED: Place(Victim.DECODE, in_rotation=True),
    FaultPoint.SCHEDULER_TAKES_IN: Place(Victim.SCHEDULER),
    FaultPoint.SCHEDULER_COMMITTED: Place(Victim.SCHEDULER),
    FaultPoint.SCHEDULER_ORDERS: Place(Victim.SCHEDULER),
    FaultPoint.SCHEDULER_ACTIVATED: Place(Victim.SCHEDULER, in_rotation=True),
    FaultPoint.SCHEDULER_LOST_WORKER: Place(Victim.SCHEDULER, after=Victim.DECODE),
    FaultPoint.SCHEDULER_ADOPTED: Place(Victim.SCHEDULER, after=Victim.SCHEDULER),
    FaultPoint.SCHEDULER_RESUMES: Place(Victim.SCHEDULER, after=Victim.SCHEDULER),
    FaultPoint.LEADER_ASSIGNS: Place(Victim.LEADER, in_rotation=True),
    FaultPoint.LEADER_FORMED: Place(Victim.LEADER, in_rotation=True),
    FaultPoint.LEADER_LOST_MEMBER: Place(Victim.LEADER, after=Victim.DECODE),
    FaultPoint.GATEWAY_HANDED_IN: Place(Victim.GATEWAY_WORKER),
    FaultPoint.GATEWAY_ACCEPTED: Place(Victim.GATEWAY_WORKER),
}
"""The controller's are not among them: with the one of `semi-pd serve` everything ends. As a service it may go, which
`tests/machine/test_controller_points.py` shows."""


def losses(target: Victim | FaultPoint) -> list[Victim]:
    """What the appliance loses by a fault, in the words in which it counts its losses; empty where it counts none."""
    place = PLACES[target] if isinstance(target, FaultPoint) else Place(target)
    lost = [place.victim, *([place.after] if place.after else [])]
    return [COUNTED_AS[victim] for victim in lost if victim in COUNTED_AS]


class Trap:
    """A directory in which points are armed."""

    def __init__(self, folder: Path):
        self._folder = folder

    def arm(self, point: FaultPoint) -> None:
        (self._folder / point).touch()

    def caught(self, point: FaultPoint, seconds: float = REACHED_SECONDS) -> int | None:
        """The process that stands at the point; None, and it is armed no more, where nobody has come to it."""
        deadline = time.monotonic() + seconds
        while (pid := self._take(point)) is None and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        (self._folder / point).unlink(missing_ok=True)
        return pid or self._take(point)

    def _take(self, point: FaultPoint) -> int | None:
        """It has said so before it stops, which is awaited."""
        for said in self._folder.glob(f"{point}.*"):
            said.unlink()
            pid = int(said.suffix.removeprefix("."))
            while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_STOPPED:
                os.sched_yield()
            return pid
        return None
