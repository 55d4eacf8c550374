"""What every simulated process can suffer: it is stopped, goes on, and ends."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulated.clock import Timer
from tests.simulated.world import World


class Process:
    """It acts through `do`, which waits while it is stopped and does nothing once it has ended."""

    def __init__(self, world: World, name: str):
        self.world = world
        self.name = name
        self.pid = world.register(self)
        self.is_alive = True
        self.is_stopped = False
        self.is_killed = False
        self._held: list[Callable[[], None]] = []
        self._mourners: list[Callable[[], None]] = []

    def do(self, act: Callable[[], None]) -> None:
        """Now, or when it goes on."""
        if self.is_stopped:
            self._held.append(act)
        elif self.is_alive:
            act()

    def after(self, seconds: float, act: Callable[[], None]) -> Timer:
        return self.world.clock.after(seconds, lambda: self.do(act))

    def stop(self) -> None:
        """SIGSTOP."""
        self.is_stopped = self.is_alive

    def kill(self, seconds: float) -> None:
        """SIGKILL by somebody who does not wait for the end: it does nothing more, but may take its time to be gone."""
        self.stop()
        self.is_killed = self.is_alive
        self.world.clock.after(seconds, self.end)

    def go_on(self) -> None:
        """SIGCONT."""
        if self.is_killed:
            return
        held, self._held = self._held, []
        self.is_stopped = False
        for act in held:
            self.do(act)

    def end(self) -> None:
        """However it came about; whoever watches hears of it, each after a moment of its own."""
        if not self.is_alive:
            return
        self.is_alive = self.is_stopped = False
        self._held.clear()
        self.has_ended()
        for mourn in self._mourners:
            self.world.soon(mourn)

    def has_ended(self) -> None:
        """What its end does to its lines and to the device."""

    def when_ended(self, act: Callable[[], None]) -> None:
        """A pidfd: `act` follows the end, at once if that is past."""
        if self.is_alive:
            self._mourners.append(act)
        else:
            act()
