"""Says during a run that it can no longer come out well, so that the machine's time goes to one that can."""

from __future__ import annotations

from appliance.workload import Arrival
from bench.record import Record
from bench.summary import Targets


class MissCount:
    """Counts requests that were due from `begin` on and missed their targets; hopeless with more than `allowed`."""

    def __init__(self, targets: Targets, begin: float, allowed: float):
        self._targets = targets
        self._begin = begin
        self._allowed = allowed
        self._missed = 0

    @classmethod
    def for_goal(cls, targets: Targets, begin: float, arrivals: list[Arrival], goal: float) -> MissCount:
        """`goal`: the part of the requests that must keep the targets."""
        measured = sum(arrival.at_seconds >= begin for arrival in arrivals)
        return cls(targets, begin, measured * (1 - goal))

    def __call__(self, record: Record) -> bool:
        if record.due >= self._begin and not self._targets.are_kept_by(record):
            self._missed += 1
        return self._missed > self._allowed
