"""Requests whose answers are known from an undisturbed run, so that a lost, repeated or changed token shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np

from appliance.workload import Arrival
from bench.endpoint import Endpoint

FARTHEST = 8
"""So many tokens at once are recognised as lost or repeated; more are a change."""


class Witness(NamedTuple):
    """A prompt, and how long an answer it is asked for."""

    prompt: tuple[int, ...]
    output_tokens: int

    def request(self, endpoint: Endpoint, is_streamed: bool = True) -> bytes:
        fields = {
            "model": endpoint.model,
            "prompt": list(self.prompt),
            "max_tokens": self.output_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "return_token_ids": True,
        }
        if is_streamed:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        return endpoint.request(msgspec.json.encode(fields))


def witnesses(arrivals: Sequence[Arrival], vocabulary: int, seed: int) -> list[Witness]:
    """One of the lengths of each arrival; the same seed gives the same prompts."""
    random = np.random.default_rng(seed)
    prompts = (tuple(random.integers(vocabulary, size=arrival.input_tokens).tolist()) for arrival in arrivals)
    return [Witness(prompt, arrival.output_tokens) for prompt, arrival in zip(prompts, arrivals, strict=True)]


class Fault(StrEnum):
    """What is wrong with an answer."""

    LOST = "lost"
    REPEATED = "repeated"
    CHANGED = "changed"


def fault_of(answer: Sequence[int], undisturbed: Sequence[int]) -> Fault | None:
    """None for the same answer. What stands at the first difference says what became of the tokens there.

    >>> fault_of([1, 2, 4, 5], [1, 2, 3, 4, 5]), fault_of([1, 2, 2, 3], [1, 2, 3]), fault_of([1, 9], [1, 2])
    (<Fault.LOST: 'lost'>, <Fault.REPEATED: 'repeated'>, <Fault.CHANGED: 'changed'>)
    """
    given, known = list(answer), list(undisturbed)
    if given == known:
        return None
    shorter = min(len(given), len(known))
    first = next((at for at in range(shorter) if given[at] != known[at]), shorter)
    if first == len(given):
        return Fault.LOST
    for count in range(1, FARTHEST + 1):
        if count <= first and _continue_alike(given[first:], known[first - count :]):
            return Fault.REPEATED
        if first + count < len(known) and _continue_alike(given[first:], known[first + count :]):
            return Fault.LOST
    return Fault.CHANGED


def _continue_alike(one: list[int], other: list[int]) -> bool:
    """Both are answers from there on; the longer one only goes on."""
    length = min(len(one), len(other))
    return length > 0 and one[:length] == other[:length]
