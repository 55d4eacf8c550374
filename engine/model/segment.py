"""A piece of one request's tokens in a model step, prefill chunk and decode lane alike, and what was drawn after it."""

from __future__ import annotations

from typing import NamedTuple

from engine.model.history import History
from engine.request import SamplingParams


class Segment(NamedTuple):
    """`token_ids` at positions `start` …, whose K and V go to `pages` (the request's page table from position 0).

    With `sampling`, the token after the last one is drawn as output number `output_index`; `history` is there if the
    sampling needs it.
    """

    token_ids: list[int]
    start: int
    pages: list[int]
    sampling: SamplingParams | None
    output_index: int
    history: History | None = None


class Drawn(NamedTuple):
    """A token, and where they were asked for, its log-probability and the likeliest tokens with theirs, best first."""

    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
