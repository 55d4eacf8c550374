"""Places in the code at which a process can be made to stop, so that it is ended there and nowhere else: for tests.

`SEMI_PD_FAULT_POINTS` names a directory. Who makes a file there with a point's name arms that point: the first process
that comes to it adds its process id to the file's name and stops. Who armed it kills it there, or lets it go on.
"""

from __future__ import annotations

import os
import signal
import threading
from enum import StrEnum
from functools import cache
from pathlib import Path

VARIABLE = "SEMI_PD_FAULT_POINTS"


class FaultPoint(StrEnum):
    """What the process has done, and those beside it do not know yet."""

    PREFILL_ORDERED = "prefill-ordered"  # it has an order, and has computed nothing of it
    PREFILL_WRITTEN = "prefill-written"  # K and V are in the pages, and not reported
    DECODE_JOINED = "decode-joined"  # lanes have come or gone, and no step has seen it
    DECODE_WRITTEN = "decode-written"  # a token is drawn, and not reported
    WORKER_REPORTED = "worker-reported"  # a report is with the socket, and may have gone out or not
    WORKER_MAPPED = "worker-mapped"  # it has the memory, and has not said that it is ready
    WORKER_READY = "worker-ready"  # it has said so, and has no work
    WORKER_DRAINED = "worker-drained"  # all is finished, and its end not told
    SCHEDULER_TAKES_IN = "scheduler-takes-in"  # a request is admitted, and nobody told
    SCHEDULER_COMMITTED = "scheduler-committed"  # a report is in the ledger, its tokens not passed on
    SCHEDULER_ORDERS = "scheduler-orders"  # pages are given in the ledger, and the order not sent
    SCHEDULER_ACTIVATED = "scheduler-activated"  # requests are routed to another group, and nobody told
    SCHEDULER_LOST_WORKER = "scheduler-lost-worker"  # a worker's end has been taken in, and nobody told
    SCHEDULER_ADOPTED = "scheduler-adopted"  # the former one's pages are kept, and nobody served
    SCHEDULER_RESUMES = "scheduler-resumes"  # some of the former one's requests are taken in, and others not
    LEADER_ASSIGNS = "leader-assigns"  # one worker of a group knows what it is, the other perhaps not
    LEADER_FORMED = "leader-formed"  # all of them know it, and the controller does not
    LEADER_LOST_MEMBER = "leader-lost-member"  # a worker's end has been seen, and not told
    GATEWAY_HANDED_IN = "gateway-handed-in"  # the scheduler may have the request, the client no answer
    GATEWAY_ACCEPTED = "gateway-accepted"  # the request is accepted, and the client not told
    CONTROLLER_FORMS = "controller-forms"  # a rotation is decided, and the leader not told
    CONTROLLER_ACTIVATES = "controller-activates"  # a new group is ready, and the scheduler not told to go there
    CONTROLLER_RETIRES = "controller-retires"  # requests have gone to the new group, and the old one is not told to end


def reached(point: FaultPoint) -> None:
    """Stop here, where somebody armed this point and nobody else was here first."""
    folder = _folder()
    if folder is not None:
        _stop_at(folder / point)


@cache
def _folder() -> Path | None:
    told = os.environ.get(VARIABLE)
    return Path(told) if told else None


def _stop_at(armed: Path) -> None:
    try:
        armed.rename(armed.with_suffix(f".{os.getpid()}"))
    except FileNotFoundError:
        return
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # to this thread, so that it goes no further
