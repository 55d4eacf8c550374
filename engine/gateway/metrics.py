"""Prometheus metrics under vLLM's names, so that dashboards made for it work; those of our own begin with semi_pd_.

What the gateways served is counted by each worker and summed at a scrape, whichever worker it reaches. What the engine
does comes from the load table and is told once.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from engine.allocation import Phase
from engine.config import ServerArgs
from engine.gateway.tally import Tally, totals
from engine.scheduler.load_table import LoadSnapshot
from engine.wire.to_scheduler import Token

_TTFT_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160)
_ITL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 10)
_E2E_BUCKETS = (0.05, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960)
_REASONS = ("stop", "length", "abort", "error")


class _Histogram:
    """Where a histogram is in a tally: its sum, then the count of each bucket, the last without bound."""

    def __init__(self, start: int, name: str, text: str, buckets: tuple[float, ...]):
        self._start, self._name, self._text, self._buckets = start, name, text, buckets
        self.end = start + len(buckets) + 2

    def observe(self, tally: Tally, seconds: float) -> None:
        tally.values[self._start] += seconds
        tally.values[self._start + 1 + bisect_left(self._buckets, seconds)] += 1

    def family(self, values: list[float], model_name: str) -> Metric:
        bounds = [*map(str, map(float, self._buckets)), "+Inf"]
        counts = accumulate(values[self._start + 1 : self.end])
        family = HistogramMetricFamily(self._name, self._text, labels=["model_name"])
        family.add_metric([model_name], list(zip(bounds, counts, strict=True)), values[self._start])
        return family


_PROMPT_TOKENS, _GENERATION_TOKENS, _FIRST_REASON = range(3)
_TTFT = _Histogram(
    _FIRST_REASON + len(_REASONS), "vllm:time_to_first_token_seconds", "Request received to first token.", _TTFT_BUCKETS
)
_ITL = _Histogram(_TTFT.end, "vllm:inter_token_latency_seconds", "Between two sends of tokens.", _ITL_BUCKETS)
_E2E = _Histogram(_ITL.end, "vllm:e2e_request_latency_seconds", "Request received to last token.", _E2E_BUCKETS)
_QUEUE = _Histogram(_E2E.end, "vllm:request_queue_time_seconds", "Request received to prompt begun.", _E2E_BUCKETS)
_PREFILL = _Histogram(
    _QUEUE.end, "vllm:request_prefill_time_seconds", "Prompt begun to first token drawn.", _E2E_BUCKETS
)
_DECODE = _Histogram(_PREFILL.end, "vllm:request_decode_time_seconds", "First token sent to last.", _E2E_BUCKETS)
_SIZE = _DECODE.end


class Metrics:
    """The metrics of all gateway workers, and this worker's own part of them."""

    def __init__(self, directory: Path, settings: ServerArgs):
        self._directory = directory
        self._settings = settings
        self._tally: Tally | None = None

    @property
    def tally(self) -> Tally:
        """Made at the first use, which must be in the worker: what is forked would be counted twice."""
        if self._tally is None:
            self._tally = Tally.open(self._directory, _SIZE)
        return self._tally

    def response(self, load: LoadSnapshot) -> Response:
        registry = CollectorRegistry()
        registry.register(_Scrape(totals(self._directory, _SIZE), load, self._settings))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class Observation:
    """Watches one accepted request. `received_at`: `time.monotonic()` when its body was there."""

    def __init__(self, metrics: Metrics, received_at: float, prompt_tokens: int):
        self._tally = metrics.tally
        self._received_at = received_at
        self._first_sent_at: float | None = None
        self._last_sent_at: float | None = None
        self._tally.values[_PROMPT_TOKENS] += prompt_tokens

    def sent(self, tokens: Sequence[Token]) -> None:
        """Tokens were handed to the socket."""
        now = time.monotonic()
        if self._last_sent_at is None:
            self._first_sent(tokens[0], now)
        else:
            _ITL.observe(self._tally, now - self._last_sent_at)
        self._last_sent_at = now
        self._tally.values[_GENERATION_TOKENS] += len(tokens)

    def _first_sent(self, token: Token, now: float) -> None:
        self._first_sent_at = now
        _TTFT.observe(self._tally, now - self._received_at)
        if token.queue_seconds is not None and token.prefill_seconds is not None:
            _QUEUE.observe(self._tally, token.queue_seconds)
            _PREFILL.observe(self._tally, token.prefill_seconds)

    def finished(self, reason: str) -> None:
        """`stop`, `length`, `abort` (the client left) or `error`."""
        _E2E.observe(self._tally, time.monotonic() - self._received_at)
        if self._first_sent_at is not None and self._last_sent_at is not None:
            _DECODE.observe(self._tally, self._last_sent_at - self._first_sent_at)
        self._tally.values[_FIRST_REASON + _REASONS.index(reason)] += 1


class _Scrape(Collector):
    """One scrape: what was counted, and how loaded the engine is."""

    def __init__(self, values: list[float], load: LoadSnapshot, settings: ServerArgs):
        self._values, self._load, self._settings = values, load, settings

    def collect(self) -> Iterator[Metric]:
        yield from self._served()
        yield from self._load_of_engine()
        yield from self._split()
        yield from self._steps()

    def _served(self) -> Iterator[Metric]:
        values = self._values
        for histogram in (_TTFT, _ITL, _E2E, _QUEUE, _PREFILL, _DECODE):
            yield histogram.family(values, self._settings.model_name)
        yield self._counter("vllm:prompt_tokens", "Prompt tokens of accepted requests.", values[_PROMPT_TOKENS])
        yield self._counter("vllm:generation_tokens", "Tokens sent to clients.", values[_GENERATION_TOKENS])
        finished = zip(_REASONS, values[_FIRST_REASON:], strict=False)
        yield self._labelled(
            CounterMetricFamily, "vllm:request_success", "Finished requests.", "finished_reason", finished
        )

    def _load_of_engine(self) -> Iterator[Metric]:
        load = self._load
        used = load.total_pages - load.free_pages
        pages = [("used", used), ("cached", load.cached_pages), ("free", load.free_pages - load.cached_pages)]
        yield self._gauge("vllm:num_requests_running", "Requests being computed.", load.running)
        yield self._gauge("vllm:num_requests_waiting", "Requests in the queue.", load.waiting)
        yield self._gauge("vllm:kv_cache_usage_perc", "Part of the KV pages in use, from 0 to 1.", load.kv_usage)
        yield self._counter("vllm:num_preemptions", "Requests whose pages were taken back.", load.preemptions)
        yield self._cache_config()
        yield self._labelled(GaugeMetricFamily, "semi_pd_kv_pages", "KV pages by what they hold.", "state", pages)

    def _split(self) -> Iterator[Metric]:
        load = self._load
        asked = [(Phase.PREFILL, load.prefill_share), (Phase.DECODE, load.decode_share)]
        held = [(Phase.PREFILL, load.prefill_sms), (Phase.DECODE, load.decode_sms)]
        text = "Share of the SMs that the workers taking orders were given, in percent."
        yield self._labelled(GaugeMetricFamily, "semi_pd_split_asked_percentage", text, "phase", asked)
        text = "SMs that the workers taking orders hold; 0 where the device has none."
        yield self._labelled(GaugeMetricFamily, "semi_pd_split_in_force_sms", text, "phase", held)

    def _steps(self) -> Iterator[Metric]:
        load = self._load
        steps = [(Phase.PREFILL, load.prefill_steps), (Phase.DECODE, load.decode_steps)]
        seconds = [(Phase.PREFILL, load.prefill_seconds), (Phase.DECODE, load.decode_seconds)]
        yield self._labelled(CounterMetricFamily, "semi_pd_steps", "Steps computed.", "phase", steps)
        text = "Wall time of all steps together."
        yield self._labelled(CounterMetricFamily, "semi_pd_step_seconds", text, "phase", seconds)
        borrowed = [(Phase.PREFILL, load.prefill_borrowed_seconds), (Phase.DECODE, load.decode_borrowed_seconds)]
        text = "Wall time of the steps for which the phase had the whole device, the other being idle."
        yield self._labelled(CounterMetricFamily, "semi_pd_borrowed_seconds", text, "phase", borrowed)

    def _cache_config(self) -> Metric:
        labels = {
            "model_name": self._settings.model_name,
            "block_size": str(self._load.page_size),
            "cache_dtype": str(self._settings.dtype),
            "enable_prefix_caching": str(self._settings.prefix_caching),
            "gpu_memory_utilization": str(self._settings.gpu_memory_fraction),
            "num_gpu_blocks": str(self._load.total_pages),
        }
        family = GaugeMetricFamily("vllm:cache_config_info", "How the KV cache is made.", labels=list(labels))
        family.add_metric(list(labels.values()), 1)
        return family

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, text, labels=["model_name"])
        family.add_metric([self._settings.model_name], value)
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(name, text, labels=["model_name"])
        family.add_metric([self._settings.model_name], value)
        return family

    def _labelled(
        self,
        kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
        name: str,
        text: str,
        label: str,
        values: Iterable[tuple[str, float]],
    ) -> Metric:
        family = kind(name, text, labels=["model_name", label])
        for value_of_label, value in values:
            family.add_metric([self._settings.model_name, value_of_label], value)
        return family
