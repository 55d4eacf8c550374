"""What TTFT and TPOT would be at another split. Pure: a window in, another predictor out.

From Semi-PD (arXiv 2504.19867), with x and y the speeds of prefill and decode at a split, read through the profile:
TTFT(x) = a₁ / (x − λ) + b₁ and TPOT(y) = a₂ / (y − μ) + b₂. λ and μ are the offered loads; the paper has μ = 0,
which is what remains where the cost of one more request in the batch is not known. a₁ and b₁ are in proportion to the
work of a prompt (in an M/M/1 queue a₁ is just that), so that a curve learnt from short prompts holds for long ones too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from appliance.slo.backlog import is_piled_up, prefill_delay_ms, wait_for_lanes_ms, waits_for_lanes
from appliance.slo.capacity import Capacity, Utilization
from appliance.slo.line import Line, Point, has_spread, proportional, through
from appliance.slo.offered import Load
from appliance.slo.percentiles import Percentiles
from appliance.slo.profile import Profile, Speeds
from appliance.slo.target import SLOTarget
from appliance.slo.window import WindowSummary

MARGIN = 0.05
"""Of the chip: nearer to the load than this, the curve says nothing and the growth of the backlog is what counts."""
KEPT = 48
HALF_LIFE_WINDOWS = 6.0
DOUBT = 0.5
"""Windows of doubt: with n windows' worth of samples, confidence is at most n / (n + DOUBT)."""
LEAST_OWN = 0.02
"""Of a window: one in which a phase borrowed nearly always says nothing of the split."""
ANCHOR = 3.0
"""At most by so much is a curve moved towards what is seen now."""


class Prediction(NamedTuple):
    """Milliseconds, at the 95th percentile."""

    ttft_ms: float
    tpot_ms: float


class Sample(NamedTuple):
    """One window. None where a latency says nothing of its phase: nothing was seen, or it was waiting for the other.

    `own` is the part of the window, from 0 to 1 for each phase, in which it did not borrow the other's share: so much a
    latency says of the split. `prompt_ms` is what the mean prompt takes on the whole chip, 0.0 where nobody tells.
    """

    at: float
    speeds: Speeds
    load: Utilization
    ttft_ms: float | None
    tpot_ms: float | None
    own: Speeds = Speeds(1.0, 1.0)
    prompt_ms: float = 0.0


class _Seen(NamedTuple):
    """A point of a curve: what it was at a reach of `reach`, and how much that says."""

    at: float
    reach: float
    ms: float | None
    own: float


class Fit(NamedTuple):
    """A curve in 1 / (speed − load), and how far it can be believed, from 0 to 1."""

    line: Line
    confidence: float

    def at(self, speed: float, load: float) -> float:
        return self.line.at(_reach(speed, load))


@dataclass(frozen=True, slots=True)
class Predictor:
    """All that was learnt, over all splits that were in force."""

    profile: Profile
    target: SLOTarget
    window_seconds: float = 30.0
    capacity: Capacity = field(default_factory=Capacity)
    samples: tuple[Sample, ...] = ()

    def learned(self, seen: WindowSummary, speeds: Speeds) -> Predictor:
        """With one more window, during all of which the phases had `speeds`.

        If it had two loads, its latencies are of neither.
        """
        capacity = self.capacity.learned(seen, speeds, self.profile)
        known = replace(self, capacity=capacity)
        if seen.is_mixed:
            return known
        load = capacity.utilization(seen.offered)
        ttft = seen.ttft_ms.p95 if seen.ttft_ms and known._shows_prefill(seen, speeds) else None
        tpot = seen.tpot_ms.p95 if seen.tpot_ms else None
        if speeds.decode <= load.decode + MARGIN:
            tpot = None
        own = Speeds(seen.work.prefill_own_part, seen.work.decode_own_part) if seen.work else Speeds(1.0, 1.0)
        sample = Sample(seen.at, speeds, load, ttft, tpot, own, capacity.prompt_ms(seen.prompt_tokens))
        return replace(known, samples=(*self.samples, sample)[-KEPT:])

    # ── what it would be ────────────────────────────────────────────────────────────────────────────────────────────

    def predict(self, seen: WindowSummary, now: Speeds, other: Speeds) -> Prediction:
        """p95 over the next window at speeds `other`, under the load that is forecast; `now` are those of `seen`.

        The curve gives the shape; it is moved, by a factor, towards what is seen now.
        """
        was, will_be = self.capacity.utilization(seen.offered), self.capacity.utilization(seen.forecast)
        ttft_ms = self._prefill_ttft_ms(seen, now, other, was.prefill, will_be.prefill)
        if self.is_blocked(seen, now):
            ttft_ms = max(ttft_ms, wait_for_lanes_ms(seen, now, other))
        fit = self.fit_tpot(seen.at)
        anchor = _anchor(seen.tpot_ms, fit.at(now.decode, was.decode))
        crowd = max(1.0, (will_be.decode + MARGIN) / other.decode)
        return Prediction(ttft_ms, anchor * crowd * fit.at(other.decode, will_be.decode))

    def is_blocked(self, seen: WindowSummary, now: Speeds) -> bool:
        """True if requests wait for decode rather than for prefill, which has time: for what comes, and for more."""
        loads = (seen.offered, seen.forecast, Load(seen.latest_prefill))
        load = max(self.capacity.utilization(load).prefill for load in loads)
        return waits_for_lanes(seen, now.prefill, load, self.target)

    def _is_piled_up(self, seen: WindowSummary, now: Speeds) -> bool:
        """True if requests wait for prompts that prefill left undone before."""
        rate = self.capacity.prefill_rate
        return not self.is_blocked(seen, now) and is_piled_up(seen, rate, now.prefill, self.target)

    def _shows_prefill(self, seen: WindowSummary, now: Speeds) -> bool:
        """True if TTFT is what prefill does at this speed with this load: it keeps up, nothing else is waited for."""
        load = self.capacity.utilization(seen.offered).prefill
        return now.prefill > load + MARGIN and not (self.is_blocked(seen, now) or self._is_piled_up(seen, now))

    def is_short(self, seen: WindowSummary, speeds: Speeds) -> bool:
        """True if at these speeds a phase would get less done than is forecast to come, as far as capacity is known."""
        load = self.capacity.utilization(seen.forecast)
        return speeds.prefill <= load.prefill + MARGIN or (load.decode > 0 and speeds.decode <= load.decode + MARGIN)

    def _prefill_ttft_ms(self, seen: WindowSummary, now: Speeds, other: Speeds, was: float, will_be: float) -> float:
        """Curve and backlog. What is seen moves the curve only where the curve is what is seen. A backlog counts only
        if it grew because of the load: a few prompts wait at any time."""
        fit = self.fit_ttft(seen.at, seen.prompt_tokens)
        is_telling = not seen.is_mixed and self._shows_prefill(seen, now)
        anchor = _anchor(seen.ttft_ms, fit.at(now.prefill, was)) if is_telling else 1.0
        rate = self.capacity.prefill_rate
        grew = now.prefill <= was or self._is_piled_up(seen, now)
        delay_ms = prefill_delay_ms(seen, seen.waiting_prompt_tokens if grew else 0, rate, other.prefill, will_be)
        longer = _ratio(seen.next_prompt_tokens, seen.prompt_tokens)
        return anchor * longer * fit.at(other.prefill, will_be) + delay_ms

    def fit_ttft(self, at: float, prompt_tokens: float = 0.0) -> Fit:
        """For prompts of so many tokens on average; 0.0 takes all that was seen for alike."""
        prompt_ms = self.capacity.prompt_ms(prompt_tokens)
        points = [
            _Seen(
                at=sample.at,
                reach=_reach(sample.speeds.prefill, sample.load.prefill),
                ms=None if sample.ttft_ms is None else sample.ttft_ms * _ratio(prompt_ms, sample.prompt_ms),
                own=sample.own.prefill,
            )
            for sample in self.samples
        ]
        return self._fit(points, at, self.target.ttft_target_ms)

    def fit_tpot(self, at: float) -> Fit:
        points = [_Seen(s.at, _reach(s.speeds.decode, s.load.decode), s.tpot_ms, s.own.decode) for s in self.samples]
        return self._fit(points, at, self.target.tpot_target_ms)

    def confidence(self, at: float, prompt_tokens: float = 0.0) -> float:
        """Of the less certain one of both."""
        return min(self.fit_ttft(at, prompt_tokens).confidence, self.fit_tpot(at).confidence)

    def _fit(self, seen: list[_Seen], at: float, target_ms: float) -> Fit:
        """Errors count relative to the target, or to what was seen if that is more: bad latency is no bad fit.

        The error of the fit is that of a mean, the error of a window over √n: p95 of a window is noisy, and noise that
        averages out makes no curve wrong.
        """
        half_life = HALF_LIFE_WINDOWS * self.window_seconds
        telling = [point for point in seen if point.own >= LEAST_OWN]
        fading = [(p.reach, p.ms, p.own * 0.5 ** ((at - p.at) / half_life)) for p in telling if p.ms is not None]
        if not fading:
            return Fit(Line(0.0, 0.0), 0.0)
        points = [Point(u, ms, weight / max(target_ms, ms) ** 2) for u, ms, weight in fading]
        line = through(points) if has_spread(points) else proportional(points)
        if not line.slope:  # a larger share is never of no use: what says so is noise, or lags behind the load
            line = proportional(points)
        weight = sum(weight for *_, weight in fading)
        errors = sum(w * ((line.at(u) - ms) / max(target_ms, ms)) ** 2 for u, ms, w in fading)
        certainty = weight / (weight + DOUBT)
        return Fit(line, certainty * max(0.0, 1.0 - math.sqrt(errors / weight / max(1.0, weight))))


def _reach(speed: float, load: float) -> float:
    """1 / (speed − load), held where the load comes nearer than the margin."""
    return 1.0 / max(speed - load, MARGIN)


def _ratio(new: float, old: float) -> float:
    """1.0 where one of both is not known."""
    return new / old if new and old else 1.0


def _anchor(seen: Percentiles | None, fitted_ms: float) -> float:
    """The factor that brings a curve half of the way, in logarithms, to what is seen: a window is noise as well."""
    if seen is None or fitted_ms <= 0:
        return 1.0
    return min(ANCHOR, max(1.0 / ANCHOR, math.sqrt(seen.p95 / fitted_ms)))
