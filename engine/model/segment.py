"""A piece of one request's tokens in a model step: prefill chunk and decode lane alike."""

from __future__ import annotations

from typing import NamedTuple

from engine.request import SamplingParams


class Segment(NamedTuple):
    """`token_ids` at positions `start` …, whose K and V go to `pages` (the request's page table from position 0).

    With `sampling`, the token after the last one is drawn as output number `output_index`.
    """

    token_ids: list[int]
    start: int
    pages: list[int]
    sampling: SamplingParams | None
    output_index: int
