"""The profile of a machine as it is kept: what it was measured on, what passed, how fast it was. Plain data."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from engine.allocation import Phase, SMAllocation
from engine.profile.conditions import Conditions
from engine.profile.key import ProfileKey


class ShareTest(msgspec.Struct, frozen=True):
    """The self-test of one phase in one share. `problem` is empty if all products were right."""

    phase: Phase
    share: int
    sm_count: int
    products: int
    problem: str = ""

    @property
    def passed(self) -> bool:
        return not self.problem

    @property
    def sentence(self) -> str:
        """What was wrong."""
        return f"{self.phase.capitalize()} at {self.share} % failed the self-test: {self.problem}."


class Pace(msgspec.Struct, frozen=True):
    """Of a phase's steps, rests between them included."""

    step_ms: float
    tokens_per_second: float


class Rung(msgspec.Struct, frozen=True):
    """A split with both phases busy. A pace is None where the share is not offered.

    `crowded`: decode's with many lanes.
    """

    prefill_percentage: int
    decode_percentage: int
    prefill: Pace | None = None
    decode: Pace | None = None
    crowded: Pace | None = None

    @property
    def split(self) -> SMAllocation:
        return SMAllocation(self.prefill_percentage, self.decode_percentage)


class Offered(NamedTuple):
    """Speeds are relative to the phase alone on the whole device; noise can make them more than 1. `crowded_speed`:
    decode's with many lanes, None if that was not measured."""

    split: SMAllocation
    prefill_speed: float
    decode_speed: float
    crowded_speed: float | None = None


class MachineProfile(msgspec.Struct, frozen=True):
    """`whole`: each phase alone on the whole device, decode with few lanes and with many.

    `measured_at`: ISO 8601, UTC.
    """

    key: ProfileKey
    measured_at: str
    seconds: float
    conditions: Conditions
    tests: tuple[ShareTest, ...]
    whole_prefill: Pace
    whole_decode: Pace
    rungs: tuple[Rung, ...]
    whole_crowded: Pace | None = None

    def test(self, phase: Phase, share: int) -> ShareTest | None:
        return next((test for test in self.tests if (test.phase, test.share) == (phase, share)), None)

    def passing_shares(self, phase: Phase) -> list[int]:
        return sorted(test.share for test in self.tests if test.phase is phase and test.passed)

    def failed(self, split: SMAllocation) -> list[ShareTest]:
        """The tests that speak against a split; none for shares that were not tested."""
        tests = [self.test(phase, split.share(phase)) for phase in Phase]
        return [test for test in tests if test is not None and not test.passed]

    @property
    def growth(self) -> float | None:
        """How many times as long as with few lanes a decode step takes with many, on the whole device."""
        return self.whole_crowded and self.whole_crowded.step_ms / self.whole_decode.step_ms

    @property
    def offered(self) -> list[Offered]:
        """Rungs whose shares both passed and were measured, the one with the least for prefill first."""
        whole_prefill, whole_decode = self.whole_prefill.tokens_per_second, self.whole_decode.tokens_per_second
        found = [
            Offered(
                rung.split,
                rung.prefill.tokens_per_second / whole_prefill,
                rung.decode.tokens_per_second / whole_decode,
                _relative(rung.crowded, self.whole_crowded),
            )
            for rung in self.rungs
            if rung.prefill and rung.decode and not self.failed(rung.split)
        ]
        return sorted(found, key=lambda offered: offered.split.prefill_percentage)


def _relative(pace: Pace | None, whole: Pace | None) -> float | None:
    return pace.tokens_per_second / whole.tokens_per_second if pace and whole else None
