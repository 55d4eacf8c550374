"""Prometheus metrics under vLLM's names, so that dashboards made for it work.

Each gateway worker has its own registry: with several workers a scrape reaches one of them and counts only what that
one has served. The gauges come from the load table and are the same everywhere.
"""

from __future__ import annotations

import time

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.responses import Response

from engine.scheduler.load_table import LoadSnapshot

_TTFT_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160)
_ITL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 10)
_E2E_BUCKETS = (0.05, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960)


class Metrics:
    """The metrics of one gateway worker."""

    def __init__(self, model_name: str):
        self._registry = registry = CollectorRegistry()
        self._model_name = model_name

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, ["model_name"], registry=registry, buckets=buckets).labels(model_name)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, ["model_name"], registry=registry).labels(model_name)

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, ["model_name"], registry=registry).labels(model_name)

        self.ttft = histogram("vllm:time_to_first_token_seconds", "Request received to first token.", _TTFT_BUCKETS)
        self.itl = histogram("vllm:inter_token_latency_seconds", "Between two sends of tokens.", _ITL_BUCKETS)
        self.e2e = histogram("vllm:e2e_request_latency_seconds", "Request received to last token.", _E2E_BUCKETS)
        self.prompt_tokens = counter("vllm:prompt_tokens", "Prompt tokens of accepted requests.")
        self.generation_tokens = counter("vllm:generation_tokens", "Tokens sent to clients.")
        self._success = Counter(
            "vllm:request_success", "Finished requests.", ["model_name", "finished_reason"], registry=registry
        )
        self._running = gauge("vllm:num_requests_running", "Requests being computed.")
        self._waiting = gauge("vllm:num_requests_waiting", "Requests in the queue.")
        self._kv_usage = gauge("vllm:kv_cache_usage_perc", "Part of the KV pages in use, from 0 to 1.")

    def finished(self, reason: str) -> None:
        self._success.labels(self._model_name, reason).inc()

    def response(self, load: LoadSnapshot) -> Response:
        self._running.set(load.running)
        self._waiting.set(load.waiting)
        self._kv_usage.set(load.kv_usage)
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


class Observation:
    """Watches one accepted request. `received_at`: `time.monotonic()` when its body was there."""

    def __init__(self, metrics: Metrics, received_at: float, prompt_tokens: int):
        self._metrics = metrics
        self._received_at = received_at
        self._last_sent_at: float | None = None
        metrics.prompt_tokens.inc(prompt_tokens)

    def sent(self, token_count: int) -> None:
        """Tokens were handed to the socket."""
        now = time.monotonic()
        if self._last_sent_at is None:
            self._metrics.ttft.observe(now - self._received_at)
        else:
            self._metrics.itl.observe(now - self._last_sent_at)
        self._last_sent_at = now
        self._metrics.generation_tokens.inc(token_count)

    def finished(self, reason: str) -> None:
        """`stop`, `length`, `abort` (the client left) or `error`."""
        self._metrics.e2e.observe(time.monotonic() - self._received_at)
        self._metrics.finished(reason)
