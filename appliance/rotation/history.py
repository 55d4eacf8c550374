"""What became of each rotation, as records one can read."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from appliance.rotation.events import Activated, Event, Gone, Ready
from engine.allocation import SMAllocation
from engine.json_lines import MORE
from engine.wire.to_controller import HandOver

log = logging.getLogger(__name__)

KEPT = 1000


class Way(StrEnum):
    """How a split was reached."""

    IN_PLACE = "in place"
    NEW_GROUP = "with a new group"


@dataclass(slots=True)
class RotationRecord:
    """One rotation that was asked for. Times are seconds since the epoch, durations seconds.

    `epoch` is that of the group at the new split, `way` how it came to be there: None for a split in force already.
    `not_in_place` says why it was not taken in place, where that was tried. `change` is the number of the change in
    place that made it, 0 for one with a new group.

    So many `streams` saw a pause at the hand-over, in milliseconds beyond a usual step, as `engine.scheduler.hand_over`
    defines it: the longest `pause_ms`, the median `median_pause_ms`. None until the scheduler has told, about a second
    after the last stream has got over it.
    """

    number: int
    asked: SMAllocation
    reason: str
    asked_at: float
    epoch: int | None = None
    way: Way | None = None
    not_in_place: str = ""
    ready_seconds: float | None = None
    live_seconds: float | None = None
    old_gone_seconds: float | None = None
    change: int = 0
    streams: int | None = None
    pause_ms: float | None = None
    median_pause_ms: float | None = None
    problem: str = ""
    _began: float = field(default_factory=time.monotonic, repr=False, compare=False)

    @property
    def seconds_since(self) -> float:
        """Since it was asked for, whatever becomes of the wall clock meanwhile."""
        return time.monotonic() - self._began

    @property
    def sentence(self) -> str:
        """What happened, for a person."""
        why = f" ({self.reason})" if self.reason else ""
        if self.problem:
            return f"Rotation {self.number} to {self.asked}{why} was not made: {self.problem}"
        if self.live_seconds is None:
            return f"Rotation {self.number} to {self.asked}{why} is under way."
        how = f"live after {self.live_seconds:.2f} s, {self.way}" if self.way else "in force already"
        return f"Rotation {self.number} to {self.asked}{why} was {how}."

    @property
    def pause(self) -> str:
        """What streams saw of it, for a person; empty while that is not known."""
        if self.streams is None:
            return ""
        return pause_words(self.streams, self.pause_ms, self.median_pause_ms)

    def as_dict(self) -> dict[str, Any]:
        shown = asdict(self) | {"asked": str(self.asked), "sentence": self.sentence, "pause": self.pause}
        del shown["_began"]  # says nothing to anybody else
        return shown

    def tell(self, what: str) -> None:
        """By its number, and by the epoch, which scheduler and leaders log."""
        log.info(what, extra={MORE: {"rotation": self.number, "epoch": self.epoch}})


@dataclass
class History:
    """The latest rotations, oldest first; `on_record` hears of each again whenever there is more to say of it."""

    on_record: Callable[[RotationRecord], None] = lambda record: None
    records: deque[RotationRecord] = field(default_factory=lambda: deque(maxlen=KEPT))
    count: int = 0

    def begin(self, asked: SMAllocation, reason: str) -> RotationRecord:
        self.count += 1
        record = RotationRecord(self.count, asked, reason, time.time())
        self.records.append(record)
        self.on_record(record)
        return record

    def goes(self, record: RotationRecord, way: Way, epoch: int, change: int = 0, not_in_place: str = "") -> None:
        """How it is tried now, in which group, and what became of the change in place that was tried before."""
        record.way, record.epoch, record.change, record.not_in_place = way, epoch, change, not_in_place
        record.streams = record.pause_ms = record.median_pause_ms = None
        record.tell(f"Rotation {record.number} to {record.asked} is tried {way}.")
        self.on_record(record)

    def note(self, event: Event) -> None:
        """Keep when what happened, for the rotation it belongs to."""
        match event:
            case Ready(epoch) if (record := self._of(epoch)) and record.ready_seconds is None:
                record.ready_seconds = record.seconds_since
            case Activated(epoch, "") if record := self._of(epoch):
                record.live_seconds = record.seconds_since
            case Gone(epoch, "") if (record := self._after(epoch)) and record.old_gone_seconds is None:
                record.old_gone_seconds = record.seconds_since
            case _:
                return
        self.on_record(record)

    def handed_over(self, told: HandOver) -> None:
        """Keep what streams saw, for the rotation it belongs to; nobody asked for a takeover after a loss."""
        record = next((record for record in reversed(self.records) if _is_of(told, record)), None)
        if record is not None:
            record.streams, record.pause_ms, record.median_pause_ms = told.streams, told.longest_ms, told.median_ms
            record.tell(f"Rotation {record.number} to {record.asked}: {record.pause}.")
            self.on_record(record)
        elif told.streams:
            words = pause_words(told.streams, told.longest_ms, told.median_ms)
            log.info(f"The group took over: {words}.", extra={MORE: {"epoch": told.epoch}})

    def conclude(self, record: RotationRecord, problem: str) -> None:
        """It is over; `problem` says why it was not made, if it was not."""
        record.problem = problem
        if not problem and record.live_seconds is None:
            record.live_seconds = record.seconds_since
        record.tell(record.sentence)
        self.on_record(record)

    @property
    def latest_asked(self) -> SMAllocation | None:
        """The split that was asked for last and was not refused."""
        return next((record.asked for record in reversed(self.records) if not record.problem), None)

    def way_to(self, split: SMAllocation | None) -> Way | None:
        """How a split that is in force was reached last; None if it never was asked for, but there from the start."""
        reached = (record for record in reversed(self.records) if record.way and record.live_seconds is not None)
        return next((record.way for record in reached if record.asked == split and not record.problem), None)

    def _of(self, epoch: int) -> RotationRecord | None:
        """The rotation that formed the group of `epoch`."""
        return next((record for record in self._of_new_groups() if record.epoch == epoch), None)

    def _after(self, epoch: int) -> RotationRecord | None:
        """The rotation that put another group in the place of `epoch`."""
        later = (record for record in self._of_new_groups() if record.epoch is not None and record.epoch > epoch)
        return next(later, None)

    def _of_new_groups(self) -> Iterator[RotationRecord]:
        return (record for record in self.records if record.way is Way.NEW_GROUP)


def _is_of(told: HandOver, record: RotationRecord) -> bool:
    return record.streams is None and (record.epoch, record.change) == (told.epoch, told.change)


def pause_words(streams: int, longest_ms: float | None, median_ms: float | None) -> str:
    """What streams saw of a hand-over.

    >>> pause_words(5, 12.3, 4.04), pause_words(1, 7.0, 7.0)
    ('5 streams paused, 12.3 ms at most, median 4.0 ms', 'one stream paused, 7.0 ms')
    >>> pause_words(5, 0.0, 0.0), pause_words(0, None, None)
    ('5 streams went on without a pause', 'no stream was under way')
    """
    if longest_ms is None or median_ms is None:
        return "no stream was under way"
    who = "one stream" if streams == 1 else f"{streams} streams"
    if longest_ms == 0:
        return f"{who} went on without a pause"
    if streams == 1:
        return f"{who} paused, {longest_ms:.1f} ms"
    return f"{who} paused, {longest_ms:.1f} ms at most, median {median_ms:.1f} ms"
