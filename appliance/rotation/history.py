"""What became of each rotation, as records one can read."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from appliance.rotation.table import Activated, Event, Gone, Ready
from engine.allocation import SMAllocation

KEPT = 1000


@dataclass(slots=True)
class RotationRecord:
    """One rotation that was asked for. Times are seconds since the epoch, durations seconds."""

    number: int
    asked: SMAllocation
    reason: str
    asked_at: float
    epoch: int | None = None
    ready_seconds: float | None = None
    live_seconds: float | None = None
    old_gone_seconds: float | None = None
    problem: str = ""

    @property
    def seconds_since(self) -> float:
        """Since it was asked for."""
        return time.time() - self.asked_at

    @property
    def sentence(self) -> str:
        """What happened, for a person."""
        why = f" ({self.reason})" if self.reason else ""
        if self.problem:
            return f"Rotation {self.number} to {self.asked}{why} was not made: {self.problem}"
        if self.live_seconds is None:
            return f"Rotation {self.number} to {self.asked}{why} is under way."
        return f"Rotation {self.number} to {self.asked}{why} was live after {self.live_seconds:.2f} s."

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"asked": str(self.asked), "sentence": self.sentence}


@dataclass
class History:
    """The latest rotations, oldest first."""

    records: deque[RotationRecord] = field(default_factory=lambda: deque(maxlen=KEPT))
    count: int = 0

    def begin(self, asked: SMAllocation, reason: str) -> RotationRecord:
        self.count += 1
        record = RotationRecord(self.count, asked, reason, time.time())
        self.records.append(record)
        return record

    def note(self, event: Event) -> None:
        """Keep when what happened, for the rotation it belongs to."""
        match event:
            case Ready(epoch) if (record := self._of(epoch)) and record.ready_seconds is None:
                record.ready_seconds = record.seconds_since
            case Activated(epoch, "") if record := self._of(epoch):
                record.live_seconds = record.seconds_since
            case Gone(epoch, "") if (record := self._after(epoch)) and record.old_gone_seconds is None:
                record.old_gone_seconds = record.seconds_since

    def _of(self, epoch: int) -> RotationRecord | None:
        return next((record for record in self.records if record.epoch == epoch), None)

    def _after(self, epoch: int) -> RotationRecord | None:
        """The rotation that put another group in the place of `epoch`."""
        later = (record for record in self.records if record.epoch is not None and record.epoch > epoch)
        return next(later, None)
