"""Rotations that somebody asked for: who waits, which is under way, and what whoever asked is told."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from appliance.rotation.history import History, RotationRecord, Way
from appliance.rotation.state import State
from engine.allocation import SMAllocation


@dataclass(slots=True)
class Wanted:
    """A rotation, and whoever waits for it."""

    record: RotationRecord
    new_group: bool
    result: Future[RotationRecord] = field(default_factory=Future)


class Requests:
    """They are made in turn. `history` keeps the record of each."""

    def __init__(self, history: History):
        self._history = history
        self._waiting: deque[Wanted] = deque()
        self._current: Wanted | None = None

    def add(self, split: SMAllocation, reason: str, new_group: bool, refusal: str) -> Future[RotationRecord]:
        """Somebody asks; with a `refusal` that is the answer at once."""
        wanted = Wanted(self._history.begin(split, reason), new_group)
        if refusal:
            self._conclude(wanted, refusal)
        else:
            self._waiting.append(wanted)
        return wanted.result

    def begin_next(self, state: State) -> Wanted | None:
        """What waits longest, if nothing is under way; those for whom there is nothing to do are answered."""
        while self._waiting and self._current is None and (state.can_rotate or state.is_stopping):
            wanted = self._waiting.popleft()
            if state.is_stopping:
                self._conclude(wanted, "The appliance stops.")
            elif wanted.record.asked == state.in_force and not wanted.new_group:
                self._conclude(wanted, "")
            else:
                self._current = wanted
                return wanted
        return None

    def goes(self, way: Way, epoch: int, change: int = 0, not_in_place: str = "") -> None:
        """How what is under way is tried now, in which group, and why not in place where that was tried before."""
        if self._current is not None:
            self._history.goes(self._current.record, way, epoch, change, not_in_place)

    def finish(self, problem: str) -> bool:
        """What is under way is over; False if nothing was that anybody asked for."""
        wanted, self._current = self._current, None
        if wanted is not None:
            self._conclude(wanted, problem)
        return wanted is not None

    def _conclude(self, wanted: Wanted, problem: str) -> None:
        self._history.conclude(wanted.record, problem)
        wanted.result.set_result(wanted.record)
