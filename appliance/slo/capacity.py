"""What the whole chip could do, learnt from what its parts did: the unit in which load is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from appliance.slo.line import Point, has_spread, through
from appliance.slo.offered import Load
from appliance.slo.profile import Profile, Speeds
from appliance.slo.window import WindowSummary

KEPT = 24
FADING = 0.9
"""Weight of a window against the one after it."""


class Utilization(NamedTuple):
    """Offered load over what the whole chip could do: λ of prefill, μ of decode."""

    prefill: float = 0.0
    decode: float = 0.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """`prefill_rate`: prompt tokens a second on the whole chip, None until it is known.

    `decode_steps`: mean batch and whole-chip seconds of a decode step in recent windows, the latest last.
    """

    prefill_rate: float | None = None
    decode_steps: tuple[tuple[float, float], ...] = ()

    def learned(self, seen: WindowSummary, speeds: Speeds, profile: Profile) -> Capacity:
        """With what one more window shows, during all of which the phases had `speeds`."""
        learned = self
        if (rate := _prefill_rate(seen, speeds, profile)) is not None:
            learned = replace(learned, prefill_rate=rate)
        if seen.work is not None and seen.work.decode_steps and seen.work.decode_tokens:
            work = seen.work
            whole = _whole_seconds(work.decode_seconds, work.decode_borrowed_seconds, profile, speeds.decode)
            step = (work.lanes or 0.0, whole / work.decode_steps)
            learned = replace(learned, decode_steps=(*learned.decode_steps, step)[-KEPT:])
        return learned

    @property
    def seconds_a_lane(self) -> float:
        """What one more request in the batch adds to a decode step on the whole chip; 0.0 until that can be told."""
        count = len(self.decode_steps)
        points = [
            Point(batch, seconds, FADING ** (count - at)) for at, (batch, seconds) in enumerate(self.decode_steps)
        ]
        return through(points).slope if has_spread(points) else 0.0

    def prompt_ms(self, tokens: float) -> float:
        """What a prompt of so many tokens takes on the whole chip; 0.0 until that is known."""
        return 1000 * tokens / self.prefill_rate if self.prefill_rate else 0.0

    def utilization(self, load: Load) -> Utilization:
        """λ is offered prompt tokens over the chip's rate.

        μ is what the requests of the batch, and not the step itself, ask of decode. A step of N requests takes
        d + k · N, and N = tokens a second · step (Little), so that step = d / (1 − μ) with μ = k · tokens a second.
        """
        prefill = load.prefill / self.prefill_rate if self.prefill_rate else 0.0
        return Utilization(prefill, load.decode * self.seconds_a_lane)


def _whole_seconds(seconds: float, borrowed_seconds: float, profile: Profile, speed: float) -> float:
    """What steps would have taken on the whole chip, which they had for `borrowed_seconds` of their time."""
    stretch = speed if profile.stretches_steps else 1.0
    return (seconds - borrowed_seconds) * stretch + borrowed_seconds


def _prefill_rate(seen: WindowSummary, speeds: Speeds, profile: Profile) -> float | None:
    work = seen.work
    if work is not None and work.prefill_seconds > 0 and work.prefill_tokens > 0:
        whole = _whole_seconds(work.prefill_seconds, work.prefill_borrowed_seconds, profile, speeds.prefill)
        return work.prefill_tokens / whole
    if seen.prefill_utilization and seen.offered.prefill > 0:
        return seen.offered.prefill / (seen.prefill_utilization * speeds.prefill)
    return None
