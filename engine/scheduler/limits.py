"""What the scheduler may promise: fixed at start from the settings and the memory the resident found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """`prefill_token_budget`: prompt tokens of one prefill order. `prefill_depth`: orders sent ahead of their reports,
    so that the worker finds the next one waiting. `grant_ahead_tokens`: how far ahead of its position a decoding
    request is given pages. `max_requests_per_key`: live requests of one API key, None for no limit.
    `max_queue_seconds`: nobody is to wait for longer before it begins, None for no limit. `chunk_tokens`: of a prompt's
    chunks where a request's bits must not depend on the others', None where a chunk may have any length.
    `ttft_target_seconds`: of the first token, 0 for none; `tpot_target_seconds`: of the others. `products`:
    (outputs, columns) of a layer's matrices."""

    max_model_len: int
    max_running_requests: int
    max_queued_requests: int
    prefill_token_budget: int
    prefill_depth: int = 2
    grant_ahead_tokens: int = 16
    max_requests_per_key: int | None = None
    max_queue_seconds: float | None = None
    chunk_tokens: int | None = None
    ttft_target_seconds: float = 0.0
    tpot_target_seconds: float = 0.0
    products: tuple[tuple[int, int], ...] = ()
