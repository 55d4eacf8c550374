"""A past for the charts: an afternoon of load as a store would have kept it, made by a formula, not at random."""

from __future__ import annotations

import math
import time
from typing import Any

from sqlalchemy import Connection, insert

from appliance.store import schema
from appliance.store.schema import Resolution

PAGES = 8192


def remember(connection: Connection, seconds: int) -> None:
    """`seconds` of metrics up to now by the second, the rotations and decisions in them, and attainment."""
    now = int(time.time())
    rows = [metrics_row(at, (at - now + seconds) / seconds) for at in range(now - seconds, now)]
    for begin in range(0, len(rows), 500):
        connection.execute(insert(schema.metrics[Resolution.SECOND]), rows[begin : begin + 500])
    moved_at = now - seconds * 0.4
    sentence = (
        "Seen at 70/30: TTFT p95 212 of 500 ms, TPOT p95 61.3 of 50 ms (84 requests, 2 waiting). Predicted at 50/50: "
        "TTFT 318 ms, TPOT 41.8 ms, confidence 0.86. Moves to 50/50: least violation."
    )
    connection.execute(insert(schema.decisions), [decision_row(moved_at, sentence)])
    connection.execute(insert(schema.rotations), [rotation_row(moved_at + 0.2)])
    connection.execute(insert(schema.attainment), [attainment_row(now - 60 * i, i) for i in range(1, 60)])


def metrics_row(at: int, part: float) -> dict[str, Any]:
    """`part`: how much of the span has passed, from 0 to 1. The load rises, and a move of the split answers it."""
    wave = math.sin(at / 11) * 0.12 + math.sin(at / 3.7) * 0.05
    rise = 1.0 if part < 0.25 else 1.0 + (part - 0.25) * 2.6
    is_moved = part > 0.6
    ttft = (190 + 60 * wave) * (rise if not is_moved else 1.55)
    tpot = (31 + 6 * wave) * (rise if not is_moved else 1.2)
    split = "50/50" if is_moved else "70/30"
    return {
        "time": at, "samples": 1, "requests": 3, "attained": 3 if tpot < 50 else 2,
        "ttft_violated": 0, "tpot_violated": 0 if tpot < 50 else 1,
        "ttft_p50_ms": ttft * 0.55, "ttft_p95_ms": ttft, "ttft_p99_ms": ttft * 1.3,
        "tpot_p50_ms": tpot * 0.8, "tpot_p95_ms": tpot, "tpot_p99_ms": tpot * 1.12, "ttft_target_ms": 500.0,
        "tpot_target_ms": 50.0, "ttft_counts": {}, "tpot_counts": {}, "waiting": max(0.0, 3 * (rise - 1.2) + 2 * wave),
        "prefilling": 2 + wave, "decoding": 18 * min(rise, 1.6) + 6 * wave,
        "kv_used_pages": PAGES * min(0.85, 0.28 * rise + wave / 6), "kv_total_pages": PAGES, "preemptions": 0,
        "prefill_tokens_per_second": 2400 * rise * (1 + wave),
        "decode_tokens_per_second": 640 * min(rise, 1.7) * (1 + wave), "split_asked": split, "split_in_force": split,
        "confidence": 0.86,
    }  # fmt: skip


def decision_row(at: float, sentence: str) -> dict[str, Any]:
    return {
        "run": 1, "number": 1, "decided_at": at, "action": "move", "in_force": "70/30", "split": "50/50",
        "confidence": 0.86, "was_taken": True, "outcome": "", "sentence": sentence, "record": {},
    }  # fmt: skip


def rotation_row(at: float) -> dict[str, Any]:
    record = {
        "number": 1, "asked": "50/50", "reason": "least violation", "asked_at": at, "epoch": 2, "ready_seconds": 0.61,
        "live_seconds": 0.84, "old_gone_seconds": 1.9, "problem": "",
        "sentence": "Rotation 1 to 50/50 (least violation) was live after 0.84 s.",
    }  # fmt: skip
    return {
        "run": 1, "number": 1, "asked_at": at, "asked": "50/50", "reason": "least violation", "live_seconds": 0.84,
        "problem": "", "sentence": record["sentence"], "record": record,
    }  # fmt: skip


def attainment_row(at: int, number: int) -> dict[str, Any]:
    return {
        "time": at, "split": "50/50" if number < 25 else "70/30", "span_seconds": 60, "in_force_seconds": 60,
        "requests": 180, "attained": 179 if number < 25 else 171, "ttft_violated": 1,
        "tpot_violated": 0 if number < 25 else 8, "ttft_counts": {}, "tpot_counts": {},
    }  # fmt: skip
