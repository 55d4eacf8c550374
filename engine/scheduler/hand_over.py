"""The pause that streams see where decode changes hands: another worker takes them, or theirs takes another share.

It reads no clock, and looks at tokens only while there is a change that some stream has not got over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from engine.allocation import SMAllocation
from engine.scheduler.groups import Worker
from engine.scheduler.live_request import LiveRequest
from engine.wire.to_controller import HandOver
from engine.wire.to_scheduler import Token


@dataclass(slots=True)
class HandingOver:
    """Decode goes over to the group of `epoch`, or that group to the split `to` by its change in place number `change`.

    A stream's pause is the time from its last token before to its first after, as they go out from here, less
    `usual_seconds`; never below 0. After means: reported by the group's worker, computed with the share it is to have.
    `waiting` are those of whom no token of after has come. Who ends before, or is preempted, saw no pause of this.
    """

    epoch: int
    waiting: dict[int, LiveRequest]
    usual_seconds: float
    to: SMAllocation | None = None
    change: int = 0
    pauses: list[float] = field(default_factory=list)

    @classmethod
    def begin(
        cls, epoch: int, decoding: Iterable[LiveRequest], to: SMAllocation | None = None, change: int = 0
    ) -> HandingOver:
        """Of those of `decoding` that have a client who waits for the next token."""
        waiting = {live.id: live for live in decoding if _is_stream(live)}
        return cls(epoch, waiting, usual_step_seconds(waiting.values()), to, change)

    def see(self, worker: Worker, tokens: Iterable[Token], now: float) -> None:
        """Tokens of a step that are about to go out."""
        if not self._is_after(worker):
            return
        for token in tokens:
            live = self.waiting.pop(token.request_id, None)
            if live is not None and live.exit is None and live.last_token_at is not None:
                self.pauses.append(max(0.0, now - live.last_token_at - self.usual_seconds))

    def _is_after(self, worker: Worker) -> bool:
        if worker.epoch != self.epoch or worker.shares_owed:
            return False
        return self.to is None or worker.share == self.to.share(worker.phase)

    def drop(self, live: LiveRequest) -> None:
        """It decodes no more."""
        self.waiting.pop(live.id, None)

    @property
    def told(self) -> HandOver:
        """For the controller, once nobody is waiting."""
        assert not self.waiting, "some stream has not got over it"
        if not self.pauses:
            return HandOver(self.epoch, self.change)
        median_ms, longest_ms = (round(seconds * 1000, 1) for seconds in (median(self.pauses), max(self.pauses)))
        return HandOver(self.epoch, self.change, len(self.pauses), median_ms, longest_ms)


def _is_stream(live: LiveRequest) -> bool:
    """One that draws again what its client has waits for another reason."""
    return live.exit is None and not live.behind and not live.request.is_probe and live.last_token_at is not None


def usual_step_seconds(streams: Iterable[LiveRequest]) -> float:
    """The median over streams of the mean time between their tokens so far: all of them are in every step.

    0.0 where none has two tokens yet: the pause is then told with the step in it.
    """
    times = [seconds for live in streams if (seconds := live.seconds_a_token) is not None]
    return median(times) if times else 0.0
