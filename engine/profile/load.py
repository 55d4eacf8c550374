"""Steps of one phase without end, as a worker would compute them."""

from __future__ import annotations

import random
from collections import deque
from typing import Protocol

from engine.model.decode_runner import DecodeRunner, StepInFlight
from engine.model.lane import Lane
from engine.model.launched_step import LaunchedStep
from engine.model.runner import ModelRunner
from engine.model.segment import Segment
from engine.profile.conditions import SPAN_TOKENS, Conditions
from engine.request import SamplingParams

_GREEDY = SamplingParams(max_tokens=1 << 20, temperature=0.0)


def tokens(count: int, vocab_size: int) -> list[int]:
    """Different ones: a GPU that computes the same row over and over needs less power, and is faster for it."""
    return random.Random(0).choices(range(vocab_size), k=count)


class Load(Protocol):
    """Computes on torch's current stream."""

    def turn(self, lanes: int | None = None) -> bool:
        """Launch a step or more, decode one of its first lanes or of all; True once a step was seen to end."""
        ...

    def finish(self) -> None:
        """Wait for what is in flight."""
        ...


class _InFlight(deque[StepInFlight | LaunchedStep]):
    """Steps, the oldest first."""

    def see_all_but(self, count: int) -> bool:
        """True if there was one to see."""
        seen = False
        while len(self) > count:
            self.popleft().tokens()
            seen = True
        return seen


class PrefillLoad:
    """One prompt a step, from its beginning, over and over; the next is launched before the last is waited for."""

    def __init__(self, runner: ModelRunner, conditions: Conditions, page_size: int, vocab_size: int):
        self._runner = runner
        prompt = tokens(conditions.chunk_tokens, vocab_size)
        self._segment = Segment(prompt, 0, conditions.prefill_table(page_size), _GREEDY, 0)
        self._in_flight = _InFlight()

    def turn(self, lanes: int | None = None) -> bool:
        step = self._runner.launch([self._segment])
        self._in_flight.append(step)
        return self._in_flight.see_all_but(0 if step.is_over else 1)

    def finish(self) -> None:
        self._in_flight.see_all_but(0)


class DecodeLoad:
    """The first lanes a step; the next is launched before the last is waited for, where the runner can."""

    def __init__(self, runner: DecodeRunner, conditions: Conditions, page_size: int, vocab_size: int):
        self._runner = runner
        self._first = conditions.context_tokens
        tables = conditions.lane_tables(page_size)
        self._lanes = [
            Lane(number, token, self._first, 0, table, _GREEDY, None)
            for number, (token, table) in enumerate(zip(tokens(len(tables), vocab_size), tables, strict=True))
        ]
        self._in_flight = _InFlight()

    def turn(self, lanes: int | None = None) -> bool:
        stepping = self._lanes[:lanes]
        self._in_flight.append(self._runner.launch(stepping))
        for lane in stepping:
            lane.position = self._first + (lane.position + 1 - self._first) % SPAN_TOKENS
        return self._in_flight.see_all_but(1 if self._runner.runs_ahead else 0)

    def finish(self) -> None:
        self._in_flight.see_all_but(0)
