"""Asks the running appliance how it is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import zmq
from rich.console import Console
from rich.table import Table

from appliance.instance import Instance
from engine.config import PortArgs
from engine.errors import SemiPDError
from engine.wire.to_controller import FROM_SCHEDULER, Status
from engine.wire.to_scheduler import FROM_CONTROLLER, AskStatus

ANSWER_MS = 3000


class NotRunning(SemiPDError):
    """No appliance of this user answers."""


def ask_status(instance: Instance) -> Status:
    """The scheduler's own words. Raises `NotRunning`."""
    running = instance.running()
    if running is None:
        raise NotRunning("No appliance of this user is running: start one with `semi-pd serve`.")
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set(zmq.LINGER, 0)
        socket.connect(PortArgs(Path(running.runtime_dir)).control_address)
        socket.send(FROM_CONTROLLER.encode(AskStatus()))
        if not socket.poll(ANSWER_MS):
            raise NotRunning(
                f"The appliance of process {running.pid} does not answer: see its logs in {instance.log_dir}."
            )
        status = FROM_SCHEDULER.decode(socket.recv())
    assert isinstance(status, Status)
    return status


def as_json(status: Status) -> str:
    """Messages travel as arrays; programs want names."""
    fields = msgspec.structs.asdict(status) | {"workers": [msgspec.structs.asdict(w) for w in status.workers]}
    return msgspec.json.encode(fields).decode()


def show_status(status: Status, console: Console) -> None:
    """A few lines and a table."""
    used = status.total_pages - status.free_pages
    console.print(
        f"{'Ready' if status.ready else 'Not ready'}: {status.decoding} decoding, {status.prefilling} in prefill, "
        f"{status.waiting} waiting; {used} of {status.total_pages} KV pages in use."
    )
    table = Table("slot", "epoch", "phase", "process", "share", "SMs", "steps", "busy")
    for worker in sorted(status.workers, key=lambda worker: (worker.epoch, worker.phases), reverse=True):
        table.add_row(
            f"{worker.slot}{' (active)' if worker.is_active else ''}",
            str(worker.epoch),
            " + ".join(worker.phases),
            str(worker.pid),
            f"{worker.share_percentage} % by {worker.splitter}",
            str(worker.sm_count or "–"),
            str(worker.steps),
            f"{worker.busy_seconds:.1f} s",
        )
    console.print(table)
