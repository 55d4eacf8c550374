"""What the policy is told of the load: one record a request, or percentiles from those who have no more than that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkloadMetrics:
    """A summary that somebody else has made. Latencies in ms, throughput in tokens a second, utilization from 0 to 1.

    `timestamp` is the reporter's own and is only passed on; `request_count` is how many requests the percentiles stand
    for, and with it how much they weigh.
    """

    timestamp: float
    prefill_queue_length: int
    decode_queue_length: int
    prefill_throughput: float
    decode_throughput: float
    ttft_p95: float
    tpot_p95: float
    prefill_utilization: float
    decode_utilization: float
    request_count: int = 1


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request as far as it has come; a later record of the same id replaces an earlier one.

    Times are those of `time.monotonic()`. `output_tokens` counts what has come by `last_token_at`.
    """

    request_id: int
    arrived_at: float
    prompt_tokens: int
    first_token_at: float | None = None
    last_token_at: float | None = None
    output_tokens: int = 0
    is_finished: bool = False

    @property
    def is_waiting(self) -> bool:
        return self.first_token_at is None and not self.is_finished

    @property
    def is_running(self) -> bool:
        return self.first_token_at is not None and not self.is_finished

    def ttft_seconds(self, now: float) -> float:
        """Arrival to first token; for one that still waits, the wait that it has already."""
        return max(0.0, (now if self.first_token_at is None else self.first_token_at) - self.arrived_at)

    def tpot_seconds(self, now: float) -> float | None:
        """(Last token − first token) / (tokens − 1); None where no second token has come.

        A running request whose next token is late counts with the time it has waited for it already.
        """
        if self.first_token_at is None or self.last_token_at is None or self.output_tokens < 2:
            return None
        so_far = (self.last_token_at - self.first_token_at) / (self.output_tokens - 1)
        if self.is_finished:
            return so_far
        return max(so_far, (now - self.first_token_at) / self.output_tokens)


@dataclass(frozen=True, slots=True)
class WorkTotals:
    """What the workers have computed since they were first counted; seconds are those of steps, rests left out.

    Borrowed seconds are those of them for which the phase had the whole device, since the other was idle.
    """

    prefill_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_tokens: int = 0
    decode_steps: int = 0
    decode_seconds: float = 0.0
    prefill_borrowed_seconds: float = 0.0
    decode_borrowed_seconds: float = 0.0
    prefill_steps: int = 0

    @property
    def lanes(self) -> float | None:
        """Of a decode step on average; None where there was none."""
        return self.decode_tokens / self.decode_steps if self.decode_steps else None

    @property
    def prefill_own_part(self) -> float:
        """The part of prefill's time, from 0 to 1, in which it had no more than its share."""
        return _own_part(self.prefill_seconds, self.prefill_borrowed_seconds)

    @property
    def decode_own_part(self) -> float:
        """Decode's."""
        return _own_part(self.decode_seconds, self.decode_borrowed_seconds)

    def since(self, earlier: WorkTotals) -> WorkTotals:
        return WorkTotals(
            self.prefill_tokens - earlier.prefill_tokens,
            self.prefill_seconds - earlier.prefill_seconds,
            self.decode_tokens - earlier.decode_tokens,
            self.decode_steps - earlier.decode_steps,
            self.decode_seconds - earlier.decode_seconds,
            self.prefill_borrowed_seconds - earlier.prefill_borrowed_seconds,
            self.decode_borrowed_seconds - earlier.decode_borrowed_seconds,
            self.prefill_steps - earlier.prefill_steps,
        )


def _own_part(seconds: float, borrowed_seconds: float) -> float:
    """Both are differences of sums, and may be a little off: kept from 0 to 1."""
    return min(1.0, max(0.0, 1.0 - borrowed_seconds / seconds)) if seconds > 0 else 1.0
