"""What follows when a scheduler ends by itself: another one, once nobody computes for the one before it any more."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from appliance.rotation.restarts import Restarts
from appliance.rotation.state import State

_KEPT = 100


@dataclass(slots=True)
class SchedulerLoss:
    """`at` is in seconds since the epoch. `pause_seconds`: until a group served again, None until then."""

    problem: str
    at: float
    began: float
    pause_seconds: float | None = None

    @property
    def sentence(self) -> str:
        """What happened, for a person."""
        if self.pause_seconds is None:
            return f"{self.problem} Another is being started; accepted requests wait for it."
        return f"{self.problem} Another took over, with a new group, after {self.pause_seconds:.2f} s."


class SchedulerLosses:
    """`start` starts another scheduler, `say` takes the sentence once it has taken over."""

    def __init__(
        self, start: Callable[[], None], say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ):
        self.records: deque[SchedulerLoss] = deque(maxlen=_KEPT)
        self._start = start
        self._say = say
        self._clock = clock
        self._restarts = Restarts("scheduler", clock)
        self._last_epoch = 0
        self._is_awaiting_ends = False

    @property
    def is_under_way(self) -> bool:
        """True from the end of a scheduler until a group serves with the next."""
        return bool(self.records) and self.records[-1].pause_seconds is None

    @property
    def described(self) -> list[dict[str, Any]]:
        """As plain data, the latest last."""
        return [
            {"at": loss.at, "pause_seconds": loss.pause_seconds, "sentence": loss.sentence} for loss in self.records
        ]

    def refusal(self) -> str:
        """Why no other is to be started if one ends now; empty if it is."""
        return self._restarts.refusal()

    def begin(self, problem: str, last_epoch: int) -> None:
        """A scheduler has ended. Groups up to `last_epoch` may have computed for it."""
        self._restarts.note()
        self.records.append(SchedulerLoss(problem, time.time(), self._clock()))
        self._last_epoch, self._is_awaiting_ends = last_epoch, True

    def see(self, state: State) -> None:
        """Start the next as soon as every worker of the former has ended: it gives away the pages they wrote to."""
        if not self.is_under_way or state.is_stopping:
            return
        if self._is_awaiting_ends and all(group.epoch > self._last_epoch for group in state.groups):
            self._is_awaiting_ends = False
            self._start()
        elif not self._is_awaiting_ends and state.active is not None:
            for loss in self.records:
                if loss.pause_seconds is None:
                    loss.pause_seconds = self._clock() - loss.began
            self._say(self.records[-1].sentence)
