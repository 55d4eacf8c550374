"""How fast two phases were while both of them computed. Pure arithmetic over times."""

from __future__ import annotations

from typing import NamedTuple

from engine.profile.messages import Worked
from engine.profile.record import Pace

LEAST_STEPS = 2
"""Steps of each phase, begun and ended beside the other one, below which nothing can be said."""


class Paces(NamedTuple):
    prefill: Pace
    decode: Pace


def paces(prefill: Worked, decode: Worked, chunk_tokens: int, decode_lanes: int) -> Paces | None:
    """Of the time in which both were busy; None if that was too short."""
    began, ended = max(prefill.began, decode.began), min(prefill.ended[-1], decode.ended[-1])
    seconds = [_seconds_a_step(work, began, ended) for work in (prefill, decode)]
    if seconds[0] is None or seconds[1] is None:
        return None
    return Paces(pace(seconds[0], chunk_tokens), pace(seconds[1], decode_lanes))


def pace_alone(work: Worked, tokens: int) -> Pace | None:
    """Of a phase that had the device for itself."""
    seconds = _seconds_a_step(work, work.began, work.ended[-1])
    return None if seconds is None else pace(seconds, tokens)


def pace(seconds: float, tokens: int) -> Pace:
    """Of steps of `tokens` tokens that take so long."""
    return Pace(step_ms=1000 * seconds, tokens_per_second=tokens / seconds)


def _seconds_a_step(work: Worked, began: float, ended: float) -> float | None:
    """The mean over the steps that lie within: from one end to the next, or from the beginning to the first end."""
    marks = [at for at in (work.began, *work.ended) if began <= at <= ended]
    return (marks[-1] - marks[0]) / (len(marks) - 1) if len(marks) > LEAST_STEPS else None
