"""One seed from beginning to end, and how what went wrong is told."""

from __future__ import annotations

import subprocess
import traceback
from collections.abc import Callable
from typing import NamedTuple

from tests.simulated.simulation import Simulation


class Failure(NamedTuple):
    """`problem` is the exception in a line, `trace` where it was raised, `last_events` what led to it."""

    seed: int
    step: int
    at: float
    problem: str
    trace: str
    last_events: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            (
                f"Seed {self.seed} fails at step {self.step} ({self.at:.4f} s): {self.problem}",
                *self.last_events,
                self.trace,
                f"Again, at commit {commit()}: python -m tests.simulated --seed {self.seed}",
            )
        )


class Summary(NamedTuple):
    """`seconds` are simulated, up to the last event."""

    seed: int
    steps: int
    seconds: float
    answered: int


def replay(seed: int, on_event: Callable[[str], None] | None = None) -> Summary | Failure:
    """`on_event` is told everything as it happens. The same seed and commit always come to the same."""
    simulation = Simulation(seed)
    world = simulation.world
    if on_event is not None:
        world.on_say = on_event
        world.reads_along = True
    try:
        simulation.run()
    except Exception as error:  # whatever it is, it is what was looked for
        problem = f"{type(error).__name__}: {error}"
        trace = "".join(traceback.format_exception(error))
        return Failure(seed, simulation.steps, world.clock.now, problem, trace, tuple(world.last_events))
    finally:
        simulation.close()
    return Summary(seed, simulation.steps, world.clock.now, world.answered)


def commit() -> str:
    """Of the working tree, with a `+` where that was changed since; empty outside a repository."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], capture_output=True, text=True, check=False
    )
    return described.stdout.strip()
