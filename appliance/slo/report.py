"""The compliance report: how many requests kept both targets, when and at which split, and what was done about it.

Pure: rows of the database in (`appliance.store.queries`), a report out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from appliance.slo.percentiles import Percentiles
from appliance.store import sketch

Row = dict[str, Any]

HOUR = 3600


@dataclass(frozen=True, slots=True)
class Part:
    """The requests that ended in an hour, or at a split, or all. A request that missed both targets is in both counts.

    `time`: when the hour begins, None of another part. `in_force_seconds`: how long the controller saw the split in
    force; of an hour or all, how long it looked.
    """

    name: str
    time: int | None
    requests: int
    attained: int
    ttft_violated: int
    tpot_violated: int
    in_force_seconds: int
    ttft_ms: Percentiles | None
    tpot_ms: Percentiles | None

    @property
    def attainment(self) -> float | None:
        """From 0 to 1; None of no requests."""
        return self.attained / self.requests if self.requests else None

    @property
    def violated(self) -> str:
        """Which targets requests have missed, in words."""
        missed = {"TTFT": self.ttft_violated, "TPOT": self.tpot_violated}
        return ", ".join(f"{name} by {requests}" for name, requests in missed.items() if requests)

    def as_dict(self) -> Row:
        return {
            "name": self.name,
            "time": self.time,
            "requests": self.requests,
            "attained": self.attained,
            "attainment": self.attainment,
            "ttft_violated": self.ttft_violated,
            "tpot_violated": self.tpot_violated,
            "in_force_seconds": self.in_force_seconds,
            "ttft_ms": self.ttft_ms._asdict() if self.ttft_ms else None,
            "tpot_ms": self.tpot_ms._asdict() if self.tpot_ms else None,
        }


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that was done: a rotation, a decision to move, other targets."""

    at: float
    kind: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Report:
    """Of [since, until), in seconds since the epoch. Hours in which the controller did not look are left out."""

    since: float
    until: float
    total: Part
    by_hour: tuple[Part, ...]
    by_split: tuple[Part, ...]
    done: tuple[Deed, ...]

    def done_in(self, hour: Part) -> list[Deed]:
        return [deed for deed in self.done if deed.at // HOUR * HOUR == hour.time]

    def as_dict(self) -> Row:
        """Plain data, for JSON."""
        return {
            "since": self.since,
            "until": self.until,
            "total": self.total.as_dict(),
            "by_hour": [part.as_dict() for part in self.by_hour],
            "by_split": [part.as_dict() for part in self.by_split],
            "done": [{"at": deed.at, "kind": deed.kind, "sentence": deed.sentence} for deed in self.done],
        }


def report_of(rows: Sequence[Row], marks: Iterable[Row], since: float, until: float) -> Report:
    """`rows` as `queries.attainment`, `marks` as `queries.marks` gives them."""
    done = [Deed(mark["at"], mark["kind"], mark["sentence"]) for mark in marks if mark["kind"] in _DEEDS]
    return Report(
        since,
        until,
        _part("all", None, rows),
        tuple(_part(hour_of(at), at, part) for at, part in _grouped(rows, lambda row: row["time"] // HOUR * HOUR)),
        tuple(_part(split, None, part) for split, part in _grouped(rows, lambda row: row["split"] or "none")),
        tuple(done),
    )


def hour_of(at: float) -> str:
    """The hour it is in, as the machine's own clock shows it."""
    return time.strftime("%F %H:00", time.localtime(at // HOUR * HOUR))


_DEEDS = ("decision", "rotation", "target")


def _grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> Iterator[tuple[Any, list[Row]]]:
    for found, group in groupby(sorted(rows, key=key), key):
        yield found, list(group)


def _part(name: str, at: int | None, rows: Sequence[Row]) -> Part:
    counted = ("requests", "attained", "ttft_violated", "tpot_violated", "in_force_seconds")
    return Part(
        name,
        at,
        **{count: sum(row[count] for row in rows) for count in counted},
        ttft_ms=sketch.percentiles_of(sketch.merged(row["ttft_counts"] for row in rows)),
        tpot_ms=sketch.percentiles_of(sketch.merged(row["tpot_counts"] for row in rows)),
    )
