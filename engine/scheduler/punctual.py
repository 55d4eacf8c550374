"""Whose first token can still be in time: where not everybody's can, as few as possible are late."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import chain, islice

from engine.scheduler.fading import Fading
from engine.scheduler.live_request import LiveRequest

LOOK_AHEAD = 256
"""So many prompts are weighed against each other; those behind them wait in any case."""
PATIENCE = 8.0
"""Times the target: who has waited so long is overdue."""
OVERDUE_EVERY = 8
"""One step in so many begins with those who are overdue, so that being put off has an end under any load."""
MEMORY = 0.9
"""What a step's weight in the measured speed becomes with the next one."""


class Punctual:
    """The order in which prompts are computed, from the target of the first token and the speed that is measured.

    `target_seconds` 0: first come, first served. `clock` is the one of `Request.received_at`.
    """

    def __init__(self, target_seconds: float, clock: Callable[[], float]):
        self.target_seconds = target_seconds
        self._clock = clock
        self._speed = Fading(MEMORY)
        self._began = 0.0
        self._steps = 0

    def computed(self, tokens: int) -> float:
        """A step of so many tokens was reported; how many seconds it took."""
        now = self._clock()
        seconds, self._began = now - self._began, now
        self._speed.saw(tokens, seconds)
        return seconds

    def in_turn(self, prompts: Iterable[LiveRequest], ordered_tokens: int, step_tokens: int) -> Iterable[LiveRequest]:
        """`prompts`, given as fairness has them, as they are to be computed after `ordered_tokens` tokens of others.

        `step_tokens`: a prompt's token comes out with the step it is in, half of one later on average than the prompt
        alone would need.
        """
        now = self._clock()
        if not ordered_tokens:
            self._began = now
        if not (self.target_seconds and self._speed.amount and self._speed.seconds):
            return prompts
        self._steps += 1
        rate, rest = self._speed.amount / self._speed.seconds, iter(prompts)
        return chain(
            fewest_late(
                list(islice(rest, LOOK_AHEAD)),
                begins_at=now + (ordered_tokens + step_tokens / 2) / rate,
                target_seconds=self.target_seconds,
                tokens_per_second=rate,
                overdue_since=now - PATIENCE * self.target_seconds if self._steps % OVERDUE_EVERY == 0 else None,
            ),
            rest,
        )


def fewest_late(
    prompts: Sequence[LiveRequest],
    begins_at: float,
    target_seconds: float,
    tokens_per_second: float,
    overdue_since: float | None = None,
) -> list[LiveRequest]:
    """`prompts` in their order, less those that had better be late, and then these.

    Moore's rule (Management Science 15, 1968), by which the number of late jobs is the least possible: take them in
    order, and whenever one would be late, put off the longest so far; here the longest of the least urgent. Those that
    have had tokens, or came before `overdue_since`, are never put off. Times are in seconds, on one clock.
    """
    weighed: list[tuple[int, int, int]] = []
    put_off: set[int] = set()
    done_at = begins_at
    for place, live in enumerate(prompts):
        tokens = live.length - live.ordered
        done_at += tokens / tokens_per_second
        if live.output_ids or (overdue_since is not None and live.request.received_at < overdue_since):
            continue
        heappush(weighed, (-live.request.priority, -tokens, place))
        if done_at > live.request.received_at + target_seconds:
            _, longest, victim = heappop(weighed)
            done_at += longest / tokens_per_second
            put_off.add(victim)
    places = range(len(prompts))
    return [prompts[place] for place in sorted(places, key=lambda place: place in put_off)]
