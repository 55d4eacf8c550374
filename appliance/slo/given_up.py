"""Splits that were left because they missed the targets: a return must be worth it, or the policy would go in circles.

Where no split keeps both targets, noise makes now this one look best and now that one.
"""

from __future__ import annotations

from typing import NamedTuple

from appliance.slo.offered import Load
from engine.allocation import SMAllocation

REMEMBERED_WINDOWS = 60
SIMILAR = 1.5
"""Loads are alike if neither part is more than so many times the other's."""
WORSE = 1.2
"""So many times as bad as the split that was left, and `MORE`, must the present one be for a return."""
MORE = 0.1


class GivenUp(NamedTuple):
    """`violation`: total relative violation that was seen when `split` was left, under `load`."""

    split: SMAllocation
    at: float
    violation: float
    load: Load


Memory = tuple[GivenUp, ...]


def give_up(memory: Memory, left: GivenUp) -> Memory:
    """With one more. Of two visits under like loads the worse one counts: circles end, each return asks for more."""
    same = [past for past in memory if past.split == left.split and are_alike(past.load, left.load)]
    worst = max([left.violation, *(past.violation for past in same)])
    return (*(past for past in memory if past.split != left.split), left._replace(violation=worst))


def fresh(memory: Memory, now: float, window_seconds: float) -> Memory:
    """What is not forgotten yet."""
    return tuple(past for past in memory if past.at > now - REMEMBERED_WINDOWS * window_seconds)


def may_return(memory: Memory, split: SMAllocation, violation: float, load: Load) -> bool:
    """Whether `split` may be taken at `violation`, as now shown: it never was left under such a load, or was better."""
    past = [one for one in memory if one.split == split and are_alike(one.load, load)]
    return all(violation > WORSE * one.violation + MORE for one in past)


def are_alike(one: Load, other: Load) -> bool:
    return all(max(a, b) <= SIMILAR * min(a, b) for a, b in zip(one, other, strict=True))
