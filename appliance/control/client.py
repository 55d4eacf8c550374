"""Asks the controller of the appliance that runs."""

from __future__ import annotations

from pathlib import Path

import zmq

from appliance.control.messages import FROM_CONTROLLER, TO_CONTROLLER, Command, Reply
from appliance.instance import Instance
from engine.config import PortArgs
from engine.errors import SemiPDError

ANSWER_SECONDS = 5.0


class NotRunning(SemiPDError):
    """No appliance of this user answers."""


def ask(instance: Instance, command: Command, seconds: float = ANSWER_SECONDS) -> Reply:
    """The controller's answer. Raises `NotRunning`."""
    running = instance.running()
    if running is None or not Path(running.runtime_dir).exists():
        raise NotRunning("No appliance of this user is running: start one with `semi-pd serve`.")
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set(zmq.LINGER, 0)
        socket.connect(PortArgs(Path(running.runtime_dir)).controller_address)
        socket.send(TO_CONTROLLER.encode(command))
        if not socket.poll(int(seconds * 1000)):
            raise NotRunning(
                f"The appliance of process {running.pid} did not answer in {seconds:g} s; logs: {instance.log_dir}."
            )
        return FROM_CONTROLLER.decode(socket.recv())
