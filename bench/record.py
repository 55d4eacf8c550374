"""A run as the client saw it: when each request was due, when it was sent, when its tokens came."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import msgspec


class Record(msgspec.Struct):
    """All times are seconds since the run began.

    `events`: when each server-sent event with tokens arrived; `event_tokens`: how many it carried, known only where
    token ids were asked for. `completion_tokens` and `prompt_tokens` are the server's own count, from the usage at the
    end. `token_ids` are kept where the list is given. `failure` is None for an answer that is whole and as long as it
    was to be.
    """

    due: float
    input_tokens: int
    output_tokens: int
    sent: float = 0.0
    events: list[float] = msgspec.field(default_factory=list)
    event_tokens: list[int] = msgspec.field(default_factory=list)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    failure: str | None = "unfinished"
    token_ids: list[int] | None = None

    @property
    def late(self) -> float:
        """How long after its time the client sent it."""
        return self.sent - self.due

    @property
    def ttft(self) -> float | None:
        """From the begin of connecting to the first token."""
        return self.events[0] - self.sent if self.events else None

    @property
    def tpot(self) -> float | None:
        """(last token − first token) / (tokens − 1); none for an answer of one token."""
        if self.failure is not None or not self.completion_tokens or self.completion_tokens < 2:
            return None
        return (self.events[-1] - self.events[0]) / (self.completion_tokens - 1)

    @property
    def longest_gap(self) -> float | None:
        """The longest silence between two events; none where there is but one."""
        return max((later - sooner for sooner, later in pairwise(self.events)), default=None)

    @property
    def end_to_end(self) -> float | None:
        return self.events[-1] - self.sent if self.failure is None else None

    @property
    def tokens_per_event(self) -> float:
        """By the server's count; 1 where it is not known."""
        return self.completion_tokens / len(self.events) if self.completion_tokens and self.events else 1.0

    def tokens_within(self, begin: float, end: float) -> float:
        """Output tokens that arrived in an interval, `end` not included."""
        if self.event_tokens:
            timed = zip(self.events, self.event_tokens, strict=True)
            return float(sum(tokens for at, tokens in timed if begin <= at < end))
        return sum(begin <= at < end for at in self.events) * self.tokens_per_event


class Observed(NamedTuple):
    """What a run gave. `loop_lags`: seconds, one a look. `is_cut_short`: it was found hopeless before its end."""

    records: list[Record]
    loop_lags: list[float]
    is_cut_short: bool = False
