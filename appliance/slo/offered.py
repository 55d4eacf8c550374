"""The load that clients offer, whatever of it is served: counted in spans, a third of a window each."""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

from appliance.slo.forecast import forecast

SPANS_A_WINDOW = 3
SPANS_KEPT = 12


class Load(NamedTuple):
    """Tokens a second: of prompts, and of answers."""

    prefill: float = 0.0
    decode: float = 0.0

    def plus(self, other: Load) -> Load:
        return Load(self.prefill + other.prefill, self.decode + other.decode)


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

    def offered(self, now: float, mean_output: float) -> Load:
        """Over the last window, or since the first arrival; answers are taken to be `mean_output` tokens long."""
        seconds = self._seconds(now)
        if not seconds:
            return Load()
        spans = range(self._first(now, SPANS_A_WINDOW), math.floor(now / self._span) + 1)
        prompt_tokens = sum(self._tokens[span] for span in spans)
        requests = sum(self._requests[span] for span in spans)
        return Load(prompt_tokens / seconds, requests * mean_output / seconds)

    def forecast(self, now: float, offered: Load) -> Load:
        """The same over the next window; answers follow requests in proportion."""
        self._expire(now)
        prefill = forecast(self._series(self._tokens, now), offered.prefill, SPANS_A_WINDOW)
        series = self._series(self._requests, now)
        recent = sum(series[-SPANS_A_WINDOW:]) / SPANS_A_WINDOW
        growth = forecast(series, recent, SPANS_A_WINDOW) / recent if recent else 1.0
        return Load(prefill, offered.decode * growth)

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
