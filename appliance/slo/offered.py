"""The load that clients offer, whatever of it is served: counted in spans, a third of a window each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from appliance.slo.forecast import Step, forecast, step_in

SPANS_A_WINDOW = 3
SPANS_KEPT = 12


class Load(NamedTuple):
    """Tokens a second: of prompts, and of answers."""

    prefill: float = 0.0
    decode: float = 0.0

    def plus(self, other: Load) -> Load:
        return Load(self.prefill + other.prefill, self.decode + other.decode)


class Offer(NamedTuple):
    """Load, and how many tokens its prompts have on average, 0.0 where none came.

    `is_new`: it began within the window, so that the window's latencies are of two loads.
    """

    load: Load = Load()
    prompt_tokens: float = 0.0
    is_new: bool = False


class Arrivals:
    """Requests and prompt tokens that came in each span of time."""

    def __init__(self, window_seconds: float):
        self._span = window_seconds / SPANS_A_WINDOW
        self._requests: Counter[int] = Counter()
        self._tokens: Counter[int] = Counter()
        self._since: float | None = None

    def add(self, at: float, prompt_tokens: int) -> None:
        span = math.floor(at / self._span)
        self._since = at if self._since is None else min(self._since, at)
        self._requests[span] += 1
        self._tokens[span] += prompt_tokens

    def offered(self, now: float, mean_output: float) -> Offer:
        """Over the last window, or since the first arrival; answers are taken to be `mean_output` tokens long."""
        seconds = self._seconds(now)
        if not seconds:
            return Offer()
        spans = range(self._first(now, SPANS_A_WINDOW), math.floor(now / self._span) + 1)
        prompt_tokens = sum(self._tokens[span] for span in spans)
        requests = sum(self._requests[span] for span in spans)
        load = Load(prompt_tokens / seconds, requests * mean_output / seconds)
        return Offer(load, prompt_tokens / requests if requests else 0.0)

    def forecast(self, now: float, offered: Offer, mean_output_since: Callable[[float], float]) -> Offer:
        """The same over the next window: after a step, the load since then; else the last window's and its trend.

        Answers follow requests in proportion; `mean_output_since`: of requests that came since a time.
        """
        self._expire(now)
        tokens, requests = self._series(self._tokens, now), self._series(self._requests, now)
        if step := _larger(step_in(tokens), step_in(requests)):
            return self._since_step(step, now, tokens, requests, mean_output_since)
        prefill = forecast(tokens, offered.load.prefill, SPANS_A_WINDOW)
        recent = sum(requests[-SPANS_A_WINDOW:]) / SPANS_A_WINDOW
        growth = forecast(requests, recent, SPANS_A_WINDOW) / recent if recent else 1.0
        return Offer(Load(prefill, offered.load.decode * growth), offered.prompt_tokens)

    def _since_step(
        self,
        step: Step,
        now: float,
        tokens: list[float],
        requests: list[float],
        mean_output_since: Callable[[float], float],
    ) -> Offer:
        prompts, count = (sum(series[-step.spans :]) / step.spans for series in (tokens, requests))
        since = self._first(now, step.spans) * self._span
        load = Load(prompts, count * mean_output_since(since))
        return Offer(load, prompts / count if count else 0.0, step.spans < SPANS_A_WINDOW)

    def _series(self, counts: Counter[int], now: float) -> list[float]:
        """Per second, of whole spans only, the latest last."""
        if self._since is None:
            return []
        first = max(math.floor(self._since / self._span) + 1, self._first(now, SPANS_KEPT))
        return [counts[span] / self._span for span in range(first, math.floor(now / self._span))]

    def _first(self, now: float, spans: int) -> int:
        return math.floor(now / self._span) - spans

    def _seconds(self, now: float) -> float:
        """How long the spans that `offered` counts have lasted."""
        if self._since is None or now <= self._since:
            return 0.0
        return now - max(self._since, self._first(now, SPANS_A_WINDOW) * self._span)

    def _expire(self, now: float) -> None:
        for counts in (self._requests, self._tokens):
            for span in [span for span in counts if span < self._first(now, SPANS_KEPT)]:
                del counts[span]


def _larger(one: Step | None, other: Step | None) -> Step | None:
    return max((step for step in (one, other) if step), key=lambda step: step.errors, default=None)
