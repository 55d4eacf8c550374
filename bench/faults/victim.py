"""Who may be killed or stopped, and which process that is."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import psutil


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
