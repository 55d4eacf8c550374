"""Asks the controller of the appliance that runs."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq

from appliance.control.messages import FROM_CONTROLLER, TO_CONTROLLER, Command, Reply
from appliance.instance import Instance
from engine.config import PortArgs
from engine.errors import SemiPDError

ANSWER_SECONDS = 5.0

log = logging.getLogger(__name__)


class NotRunning(SemiPDError):
    """No appliance of this user answers."""


class Conversation:
    """One question after another on one connection. Raises `NotRunning`, at once where nothing runs."""

    def __init__(self, instance: Instance):
        running = instance.running()
        if running is None or not Path(running.runtime_dir).exists():
            raise NotRunning("No appliance of this user is running: start one with `semi-pd serve`.")
        self._who = f"The appliance of process {running.pid}"
        self._log_dir = instance.log_dir
        self._address = PortArgs(Path(running.runtime_dir)).controller_address
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.connect(self._address)

    def ask(self, command: Command, seconds: float = ANSWER_SECONDS) -> Reply:
        """The controller's answer. Raises `NotRunning` where none comes in time; then ask no more."""
        self.send(command)
        return self.receive(seconds)

    def send(self, command: Command) -> None:
        """Ask, and do not wait; a `receive` is owed for each."""
        log.debug("ask %r at %s", command, self._address)
        self._socket.send(TO_CONTROLLER.encode(command))

    def receive(self, seconds: float = ANSWER_SECONDS) -> Reply:
        """The next answer. Raises `NotRunning` where none comes in time."""
        began = time.monotonic()
        if not self._socket.poll(int(seconds * 1000)):
            raise NotRunning(f"{self._who} did not answer in {seconds:g} s; logs: {self._log_dir}.")
        reply = FROM_CONTROLLER.decode(self._socket.recv())
        log.debug("answered after %.1f ms: %s", 1000 * (time.monotonic() - began), reply.sentence or "done")
        return reply

    def close(self) -> None:
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


def ask(instance: Instance, command: Command, seconds: float = ANSWER_SECONDS) -> Reply:
    """The controller's answer to one question. Raises `NotRunning`."""
    with Conversation(instance) as controller:
        return controller.ask(command, seconds)
