"""Whether a request can be served at all: a pure decision, made again here after the gateway's quick look."""

from __future__ import annotations

from math import ceil

from engine.errors import ContextLengthExceeded, InvalidRequest, Overloaded, RateLimited, RequestError
from engine.request import Request
from engine.scheduler.limits import Limits

RETRY_SECONDS = 1


def refusal(
    request: Request,
    limits: Limits,
    waiting: int,
    wait_seconds: float,
    live_of_key: int,
    is_ready: bool,
    pool_tokens: int,
) -> RequestError | None:
    """Why `request` is not admitted, or None.

    `wait_seconds`: as long as it would wait behind those that do. `live_of_key`: live requests of its API key.
    `pool_tokens`: what the whole KV pool holds.
    """
    if not is_ready:
        return Overloaded("The engine is not ready yet.", retry_after_seconds=RETRY_SECONDS)
    if waiting >= limits.max_queued_requests:
        return Overloaded(f"{waiting} requests are waiting already.", retry_after_seconds=RETRY_SECONDS)
    if limits.max_queue_seconds is not None and wait_seconds > limits.max_queue_seconds:
        return too_long_a_wait(wait_seconds, limits.max_queue_seconds)
    if limits.max_requests_per_key is not None and live_of_key >= limits.max_requests_per_key:
        return too_many_of_key(live_of_key)
    if not request.prompt_ids:
        return InvalidRequest("The prompt must have at least one token.", param="prompt")
    prompt, answer = len(request.prompt_ids), request.sampling.max_tokens
    bound = min(limits.max_model_len, pool_tokens)
    if prompt + answer > bound:
        return ContextLengthExceeded(
            f"The prompt has {prompt} tokens and {answer} more were asked for; together they may be at most {bound}."
        )
    return None


def too_long_a_wait(seconds: float, limit_seconds: float) -> Overloaded:
    """What a gateway and the scheduler say alike."""
    return Overloaded(
        f"It would wait for about {seconds:.2g} s, and {limit_seconds:g} s is the limit.",
        retry_after_seconds=ceil(seconds - limit_seconds),
    )


def too_many_of_key(live: int) -> RateLimited:
    """What a gateway and the scheduler say alike."""
    return RateLimited(
        f"This API key has {live} requests in progress, as many as it may have.", retry_after_seconds=RETRY_SECONDS
    )
