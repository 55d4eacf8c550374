"""Who is struck next, and where: drawn by seed. Pure but for its two clocks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Generic, TypeVar

from appliance.rotation.restarts import LOSS_WINDOW_SECONDS, MAX_LOSSES
from bench.faults.point import losses
from bench.faults.victim import Victim
from engine.fault_point import FaultPoint

MARGIN_SECONDS = 10.0
"""From a draw to its fault some seconds pass, and not always as many."""
LOOK_SECONDS = 0.5

T = TypeVar("T", Victim, FaultPoint)


class Draw(Generic[T]):
    """The same seed gives the same targets, but where the appliance has had its share of a minute of such losses.

    `in_rounds`: each target once before any is struck again.
    """

    def __init__(
        self,
        targets: Sequence[T],
        seed: int,
        clock: Callable[[], float] = time.monotonic,
        rest: Callable[[float], None] = time.sleep,
        *,
        in_rounds: bool = False,
    ):
        self._targets = targets
        self._seed = seed
        self._clock = clock
        self._rest = rest
        self._in_rounds = in_rounds
        self._drawn = Counter[T]()
        self._struck: dict[Victim, list[float]] = {}

    def next(self, number: int) -> tuple[T, Random]:
        """The target of fault `number`, and what else is drawn for it; waits where all have had their share."""
        random = Random(f"{self._seed}/{number}")
        while not (allowed := [target for target in self._wanted() if not self._is_spared(target)]):
            self._rest(LOOK_SECONDS)
        target = random.choice(allowed)
        self._drawn[target] += 1
        for lost in losses(target):
            self._struck.setdefault(lost, []).append(self._clock())
        return target, random

    def _wanted(self) -> list[T]:
        fewest = min(self._drawn[target] for target in self._targets)
        return [target for target in self._targets if not self._in_rounds or self._drawn[target] == fewest]

    def _is_spared(self, target: T) -> bool:
        since = self._clock() - LOSS_WINDOW_SECONDS - MARGIN_SECONDS
        more = Counter(losses(target))
        return any(
            sum(at > since for at in self._struck.get(lost, ())) + count > MAX_LOSSES for lost, count in more.items()
        )
