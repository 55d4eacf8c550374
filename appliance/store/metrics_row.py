"""A row of metrics from plain values: what ended, what the status says, what the device draws. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from appliance.slo.metrics import RequestRecord
from appliance.slo.percentiles import Percentiles
from appliance.store import sketch
from appliance.store.gpu_meter import GpuReading
from engine.wire.to_controller import RequestProgress

Row = dict[str, Any]


class Latency(NamedTuple):
    """Of a request that ended, in milliseconds; `tpot_ms` is None where there was no second token."""

    ttft_ms: float
    tpot_ms: float | None


class Work(NamedTuple):
    """Tokens computed, and preemptions, since the scheduler began; `at` is of the monotonic clock."""

    at: float
    prefill_tokens: int = 0
    decode_tokens: int = 0
    preemptions: int = 0


def latency_of(progress: RequestProgress) -> Latency | None:
    """None of a request that never had a token."""
    if progress.first_token_at is None:
        return None
    record = RequestRecord(
        progress.request_id, progress.arrived_at, progress.prompt_tokens, progress.first_token_at,
        progress.last_token_at, progress.output_tokens, is_finished=True,
    )  # fmt: skip
    tpot = record.tpot_seconds(0.0)
    return Latency(1000 * record.ttft_seconds(0.0), None if tpot is None else 1000 * tpot)


def judged(ended: Iterable[Latency], target: dict[str, float]) -> Row:
    """How many requests kept which target, and their latencies as counts."""
    latencies = list(ended)
    ttft_ms, tpot_ms = target["ttft_target_ms"], target["tpot_target_ms"]
    late_first = [latency.ttft_ms > ttft_ms for latency in latencies]
    late_rest = [latency.tpot_ms is not None and latency.tpot_ms > tpot_ms for latency in latencies]
    return {
        "requests": len(latencies),
        "attained": sum(not (first or rest) for first, rest in zip(late_first, late_rest, strict=True)),
        "ttft_violated": sum(late_first),
        "tpot_violated": sum(late_rest),
        "ttft_target_ms": ttft_ms,
        "tpot_target_ms": tpot_ms,
        "ttft_counts": sketch.counted(latency.ttft_ms for latency in latencies),
        "tpot_counts": sketch.counted(latency.tpot_ms for latency in latencies if latency.tpot_ms is not None),
    }


def described(status: dict[str, Any]) -> Row:
    """Queues, pages, split and what the policy sees, from the appliance's status."""
    scheduler, slo = status["scheduler"] or {}, status["slo"]
    free, total = scheduler.get("free_pages"), scheduler.get("total_pages")
    return {
        "waiting": scheduler.get("waiting"),
        "prefilling": scheduler.get("prefilling"),
        "decoding": scheduler.get("decoding"),
        "kv_used_pages": None if total is None else total - free,
        "kv_total_pages": total,
        "split_asked": status["split_asked"] or status["split_in_force"],
        "split_in_force": status["split_in_force"],
        "prefill_sms": _sms(scheduler, "prefill"),
        "decode_sms": _sms(scheduler, "decode"),
        "confidence": slo["confidence"],
        "prediction_error": slo["prediction_error"],
        **percentile_columns("ttft", slo["seen"]["ttft_ms"]),
        **percentile_columns("tpot", slo["seen"]["tpot_ms"]),
    }


def percentile_columns(name: str, found: Percentiles | None) -> Row:
    p50, p95, p99 = found or (None, None, None)
    return {f"{name}_p50_ms": p50, f"{name}_p95_ms": p95, f"{name}_p99_ms": p99}


def rates(before: Work, now: Work) -> Row:
    """Of a scheduler that was started anew in between, everything it has counted."""
    seconds = max(now.at - before.at, 1e-3)
    first = before if before.prefill_tokens <= now.prefill_tokens else Work(before.at)
    return {
        "preemptions": max(0, now.preemptions - first.preemptions),
        "prefill_tokens_per_second": (now.prefill_tokens - first.prefill_tokens) / seconds,
        "decode_tokens_per_second": (now.decode_tokens - first.decode_tokens) / seconds,
    }


def measured(gpu: GpuReading | None) -> Row:
    used, watts, busy = gpu or (None, None, None)
    return {"gpu_memory_bytes": used, "gpu_power_watts": watts, "gpu_utilization": busy}


def _sms(scheduler: dict[str, Any], phase: str) -> int | None:
    active = [worker for worker in scheduler.get("workers", ()) if worker["is_active"] and phase in worker["phases"]]
    return (active[0]["sm_count"] or None) if active else None
