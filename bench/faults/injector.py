"""Injects one fault after the other, and waits until the appliance is as it was. Blocks; to be run in a thread."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from threading import Thread
from typing import NamedTuple

import psutil

from appliance.control.client import NotRunning, ask
from appliance.control.messages import AskRotation
from bench.faults.box import LOOK_SECONDS, Box, held_ports
from bench.faults.draw import Draw
from bench.faults.point import PLACES, Place
from bench.faults.result import FaultConfiguration
from bench.faults.victim import Victim, candidates
from engine.fault_point import FaultPoint

RECOVERY_SECONDS = 120.0
LONGEST_REST_SECONDS = 2.0
NOBODY = 0


@dataclass
class Moments:
    """Of one fault, in the clock of the load. `doomed`: clients' ports whose connections end with the victim."""

    number: int
    target: Victim | FaultPoint
    at: float
    doomed: set[int] = field(default_factory=set)
    served: float | None = None
    redundant: float | None = None
    ended: float | None = None
    problem: str = ""


class _Target(NamedTuple):
    victim: Victim
    pid: int
    alike: int


class Injector:
    """`clock` gives the load's time."""

    def __init__(self, box: Box, asked: FaultConfiguration, draw: Draw, clock: Callable[[], float]):
        self._box = box
        self._asked = asked
        self._draw = draw
        self._clock = clock

    def inject(self, number: int) -> Moments:
        """Fault `number`, from a moment of rest until all is well again; `problem` says so where it never was."""
        struck, random = self._draw.next(number)
        time.sleep(random.uniform(0.0, LONGEST_REST_SECONDS))
        is_point = isinstance(struck, FaultPoint)
        target = self._at_point(struck, random) if is_point else self._target(struck, random)
        if target is None:
            problem = "Nobody came to it." if is_point else "There was no such process."
            return Moments(number, struck, self._clock(), problem=problem)
        strike = self._stop if self._asked.kind == "stop" else self._kill
        moments = strike(Moments(number, struck, self._clock()), target)
        went_on = self._asked.kind == "stop" and moments.ended is None
        replaced = target._replace(pid=NOBODY) if went_on else target
        recovered = self._until(lambda: self._box.has_recovered(*replaced), moments)
        if recovered is not None:
            moments.served = recovered
            if random.random() >= self._asked.hasty:
                moments.redundant = self._until(lambda: self._box.is_redundant, moments)
        return moments

    def _target(self, victim: Victim, random: Random) -> _Target | None:
        """Spares may be on their way."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while time.monotonic() < deadline and not self._box.has_ended:
            status = self._box.status()
            there = sorted(candidates(victim, status)) if status is not None else []
            if there:
                return _Target(victim, random.choice(there), len(there))
            time.sleep(LOOK_SECONDS)
        return None

    def _at_point(self, point: FaultPoint, random: Random) -> _Target | None:
        """Who stands at it now. Of its kind so many are to be there afterwards as were before."""
        place, trap = PLACES[point], self._box.trap
        usual = self._target(place.victim, random)
        if usual is None:
            return None
        trap.arm(point)
        self._bring_about(place, random)
        pid = trap.caught(point)
        return None if pid is None else usual._replace(pid=pid)

    def _bring_about(self, place: Place, random: Random) -> None:
        if place.in_rotation:
            Thread(target=self._rotate, daemon=True).start()  # its answer may never come
        elif place.after is not None and (first := self._target(place.after, random)):
            os.kill(first.pid, signal.SIGKILL)

    def _rotate(self) -> None:
        """To new processes at the same split."""
        status = self._box.status()
        if status is not None and status["split_in_force"] is not None:
            prefill, decode = map(int, status["split_in_force"].split("/"))
            with suppress(NotRunning):
                ask(self._box.instance, AskRotation(prefill, decode, new_group=True, reason="bench"), RECOVERY_SECONDS)

    def _kill(self, moments: Moments, target: _Target) -> Moments:
        if target.victim is Victim.GATEWAY_WORKER:
            os.kill(target.pid, signal.SIGSTOP)  # it accepts nobody more, so that it is known whose end this is
            moments.doomed = held_ports(target.pid)
        moments.at = self._clock()
        os.kill(target.pid, signal.SIGKILL)
        return moments

    def _stop(self, moments: Moments, target: _Target) -> Moments:
        """For a while. Who is ended meanwhile by the appliance is not there any more to go on."""
        process = psutil.Process(target.pid)
        os.kill(target.pid, signal.SIGSTOP)
        until = moments.at + self._asked.hold_seconds
        while self._clock() < until and moments.ended is None:
            if not _runs(process):
                moments.ended = self._clock()
            time.sleep(LOOK_SECONDS)
        if moments.ended is None:
            with suppress(ProcessLookupError):
                os.kill(target.pid, signal.SIGCONT)
        return moments

    def _until(self, is_so: Callable[[], bool], moments: Moments) -> float | None:
        """When it was; None, and a problem, where it never was."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while time.monotonic() < deadline:
            if self._box.has_ended:
                moments.problem = f"The appliance ended: {self._box.last_words}"
                return None
            if is_so():
                return self._clock()
            time.sleep(LOOK_SECONDS)
        moments.problem = f"It had not recovered after {RECOVERY_SECONDS:g} s: {self._box.last_words}"
        return None


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
