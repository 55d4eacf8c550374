"""What became of a request: the client's own record of every token beside an undisturbed answer. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from bench.record import Record
from bench.rotation.witness import fault_of

PATIENCE_SECONDS = 60.0
"""An accepted request is not given up before (`engine_patience_seconds`): what ends with 503 earlier was refused."""

EQUAL = "equal"
REFUSED = "refused"
OWN = "ended with its gateway worker"
_REFUSALS = ("HTTP 503", "HTTP 429", "no connection")


@dataclass
class Asked:
    """One request. `witness`: its number. `port`: the client's own; None where there was no connection."""

    witness: int
    is_streamed: bool
    record: Record
    port: int | None = None
    ended: float | None = None
    is_own: bool = False

    def waits_at(self, at: float) -> bool:
        """True where it was sent and had not ended."""
        return self.record.sent < at and (self.ended is None or self.ended > at)


class Verdict(NamedTuple):
    """`kind`: EQUAL, REFUSED, OWN, or else what was lost or wrong, in words."""

    kind: str

    @property
    def is_accepted(self) -> bool:
        return self.kind != REFUSED

    @property
    def is_fault(self) -> bool:
        return self.kind not in (EQUAL, REFUSED, OWN)


def verdict_on(asked: Asked, known: Sequence[Sequence[int]]) -> Verdict:
    """A request that was cut off counts as accepted, even where its client had not been told so."""
    record = asked.record
    if record.failure in (None, "wrong length"):
        fault = fault_of(record.token_ids or [], known[asked.witness])
        return Verdict(EQUAL if fault is None else f"tokens {fault}")
    if record.failure in _REFUSALS and _seconds(asked) < PATIENCE_SECONDS:
        return Verdict(REFUSED)
    if record.failure == "cut off" and asked.is_own:
        return Verdict(OWN)
    return Verdict(f"lost: {record.failure}")


def _seconds(asked: Asked) -> float:
    return 0.0 if asked.ended is None else asked.ended - asked.record.sent


def silences(asked: Sequence[Asked], at: float, until: float) -> list[float]:
    """For each stream that waited for a token at `at` and got one: its longest silence from then on, in seconds.

    What was on its way already comes at once, so that the first token alone would say little. Of what comes after
    `until` only a silence that began before is looked at.
    """
    streams = [one for one in asked if one.is_streamed and one.waits_at(at) and not one.is_own]
    after = ([at, *(event for event in one.record.events if event > at)] for one in streams)
    gaps = ([later - sooner for sooner, later in pairwise(events) if sooner <= until] for events in after)
    return [max(each) for each in gaps if each]
