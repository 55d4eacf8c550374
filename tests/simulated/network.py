"""Lines between processes: in order within one, each with delays of its own, so that no two keep an order."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.simulated.clock import Clock, Timer


class Line:
    """Messages in one direction. `deliver` gets each when it has arrived."""

    def __init__(self, network: Network, deliver: Callable[[bytes], None]):
        self._network = network
        self._deliver = deliver
        self._under_way: list[Timer] = []
        self._latest = 0.0

    def send(self, data: bytes) -> None:
        self._arrive_later(lambda: self._deliver(data))

    def sender_ended(self, notice: Callable[[], None]) -> None:
        """What it sent last may not have left its process; the receiver notices the end after everything else."""
        for timer in self._network.lost_of(self._under_way):
            timer.cancel()
        self._arrive_later(notice)

    def receiver_ended(self) -> None:
        """Nothing arrives any more."""
        for timer in self._under_way:
            timer.cancel()
        self._deliver = lambda data: None

    def _arrive_later(self, act: Callable[[], None]) -> None:
        clock = self._network.clock
        self._latest = max(self._latest, clock.now + self._network.delay())
        self._under_way = [timer for timer in self._under_way if timer.at > clock.now and not timer.is_cancelled]
        self._under_way.append(clock.at(self._latest, act))


class Network:
    """Draws delays: most are short, a few are so long that everything else overtakes them."""

    def __init__(self, clock: Clock, chance: Random):
        self.clock = clock
        self._chance = chance

    def delay(self) -> float:
        """Seconds."""
        is_late = self._chance.random() < 0.03
        return self._chance.uniform(0.0, 0.3 if is_late else 0.003)

    def lost_of(self, under_way: list[Timer]) -> list[Timer]:
        """The latest, as many as had not left the process that sent them."""
        return under_way[self._chance.randint(0, len(under_way)) :]
