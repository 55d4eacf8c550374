"""The order in which an engine ends: requests first, then those who compute them, then those who own what they need."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from appliance.attention import Attention
from appliance.engine_processes import EngineProcesses
from appliance.rotation.events import Event, Stopping
from appliance.rotation.links import Links

GATEWAY_SECONDS = 36.0
"""The gateway lets streams go on for 30 s and is given 35 by gunicorn."""
EXIT_SECONDS = 10.0
LOOK_SECONDS = 0.05


class ShutdownStage(NamedTuple):
    """Do `act`, then wait until `is_done`, but no longer than `seconds`."""

    act: Callable[[], None]
    is_done: Callable[[], bool]
    seconds: float


def shutdown_stages(
    processes: EngineProcesses, links: Links, happen: Callable[[Event], None], has_groups: Callable[[], bool]
) -> Iterator[ShutdownStage]:
    """Gateway, workers, leaders, scheduler, resident."""

    def close_the_door() -> None:
        processes.expect_ends()
        happen(Stopping())
        processes.terminate("gateway")
        processes.terminate("console")

    def drain() -> None:
        if not processes.is_gone("scheduler"):
            links.retire_all()

    yield ShutdownStage(close_the_door, lambda: processes.is_gone("gateway"), GATEWAY_SECONDS)
    yield ShutdownStage(drain, lambda: processes.is_gone("scheduler") or not has_groups(), EXIT_SECONDS)
    for name in ("leader-a", "leader-b", "scheduler", "resident"):
        yield ShutdownStage(
            lambda name=name: processes.terminate(name), lambda name=name: processes.is_gone(name), EXIT_SECONDS
        )


def follow(stages: Iterable[ShutdownStage], attention: Attention, end: Callable[[], None]) -> None:
    """One stage after the other in the attending thread, then `end`."""
    rest = iter(stages)

    def begin_next() -> None:
        stage = next(rest, None)
        if stage is None:
            end()
            return
        stage.act()
        look(stage, time.monotonic() + stage.seconds)

    def look(stage: ShutdownStage, deadline: float) -> None:
        if stage.is_done() or time.monotonic() > deadline:
            begin_next()
        else:
            attention.after(LOOK_SECONDS, lambda: look(stage, deadline))

    begin_next()
