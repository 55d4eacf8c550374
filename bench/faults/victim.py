"""Who is killed or stopped next, drawn by seed, and which process that is. The drawing is pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from random import Random
from typing import Any

import psutil

from appliance.rotation.restarts import LOSS_WINDOW_SECONDS, MAX_LOSSES


class Victim(StrEnum):
    """A kind of process."""

    PREFILL = "prefill"
    DECODE = "decode"
    SPARE = "spare"
    LEADER = "leader"
    SCHEDULER = "scheduler"
    GATEWAY_WORKER = "gateway-worker"
    CONSOLE = "console"
    RESIDENT = "resident"


USUAL = tuple(victim for victim in Victim if victim is not Victim.RESIDENT)
"""Those whose end no accepted request may notice. After the resident's they may end with an error that says when to
come again, where the cold start takes longer than the setting `engine_patience_seconds`."""

COUNTED_AS = {
    Victim.SCHEDULER: Victim.SCHEDULER,
    Victim.RESIDENT: Victim.SCHEDULER,  # whose end comes with it
    Victim.LEADER: Victim.LEADER,
}
"""Of these the appliance bears so many a minute and no more, which is a bound and no fault."""


MARGIN_SECONDS = 10.0
"""From a draw to its fault some seconds pass, and not always as many."""
LOOK_SECONDS = 0.5


class Draw:
    """The same seed gives the same victims, but where one of `COUNTED_AS` has had its share of a minute."""

    def __init__(
        self,
        victims: Sequence[Victim],
        seed: int,
        clock: Callable[[], float] = time.monotonic,
        rest: Callable[[float], None] = time.sleep,
    ):
        self._victims = victims
        self._seed = seed
        self._clock = clock
        self._rest = rest
        self._struck: dict[Victim, list[float]] = {}

    def next(self, number: int) -> tuple[Victim, Random]:
        """The victim of fault `number`, and what else is drawn for it; waits where all have had their share."""
        random = Random(f"{self._seed}/{number}")
        while not (allowed := [victim for victim in self._victims if not self._is_spared(victim)]):
            self._rest(LOOK_SECONDS)
        victim = random.choice(allowed)
        self._struck.setdefault(COUNTED_AS.get(victim, victim), []).append(self._clock())
        return victim, random

    def _is_spared(self, victim: Victim) -> bool:
        since = self._clock() - LOSS_WINDOW_SECONDS - MARGIN_SECONDS
        recent = [at for at in self._struck.get(COUNTED_AS.get(victim, victim), ()) if at > since]
        return victim in COUNTED_AS and len(recent) >= MAX_LOSSES


def candidates(victim: Victim, status: dict[str, Any]) -> list[int]:
    """Process ids of that kind, by what the controller says, and below it of the gateway's master."""
    processes = status["processes"]
    match victim:
        case Victim.PREFILL | Victim.DECODE:
            return [worker["pid"] for worker in active_workers(status) if victim in worker["phases"]]
        case Victim.SPARE:
            return [pid for pids in status["spares"].values() for pid in pids]
        case Victim.LEADER:
            return [pid for name, pid in processes.items() if name.startswith("leader-")]
        case Victim.GATEWAY_WORKER:
            return [child.pid for child in psutil.Process(processes["gateway"]).children()]
        case Victim.SCHEDULER | Victim.CONSOLE | Victim.RESIDENT:
            return [processes[victim]]


def active_workers(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [worker for worker in status["scheduler"]["workers"] if worker["is_active"]]
