"""A worker's line to the scheduler: orders in, reports out, and the moment at which there is no point in going on."""

from __future__ import annotations

import os
import socket
import time

import zmq

from engine.resident.attachment import ResidentGone
from engine.wire.codec import Message
from engine.wire.to_scheduler import FROM_WORKER
from engine.wire.to_worker import TO_WORKER, DecodeOrder, Drain, PrefillOrder, TakeShare

_LINGER_MS = 2000
"""How long the last words of a worker that exits wait for a scheduler that may have gone too."""

Order = PrefillOrder | DecodeOrder | TakeShare | Drain


class OrderSocket:
    """`identity` names this worker to the scheduler; `resident` is the connection whose end ends the worker.

    When the scheduler's end of the line is gone, that is an order to drain: another scheduler gives away the pages
    that this worker writes to, and must find it ended.
    """

    def __init__(self, address: str, identity: str, resident: socket.socket):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.IDENTITY, identity.encode())
        self._socket.set(zmq.LINGER, _LINGER_MS)
        self._socket.set(zmq.SNDHWM, 0)
        self._socket.set(zmq.RCVHWM, 0)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._socket.connect(address)
        self._resident = resident
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(resident, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._drain_read, self._drain_write = os.pipe()
        self._poller.register(self._drain_read, zmq.POLLIN)

    def order_drain(self) -> None:
        """As if the scheduler had said it: for a signal's handler."""
        os.write(self._drain_write, b"\0")

    def send(self, message: Message) -> None:
        self._socket.send(FROM_WORKER.encode(message))

    def receive(self, patience_seconds: float | None) -> list[Order]:
        """All orders that are there, as soon as there is one; none where none came in that time, if it has an end.

        Raises `ResidentGone`.
        """
        events = dict(self._poller.poll(None if patience_seconds is None else round(patience_seconds * 1000)))
        if self._resident.fileno() in events:
            raise ResidentGone("The resident has ended, and with it the memory this worker computes on.")
        if self._monitor in events:
            self._socket.set(zmq.LINGER, 0)  # nobody waits for its last words
        orders: list[Order] = [Drain(0)] if {self._drain_read, self._monitor} & events.keys() else []
        while True:
            try:
                orders.append(TO_WORKER.decode(self._socket.recv(zmq.NOBLOCK)))
            except zmq.Again:
                return orders

    def rest(self, seconds: float) -> list[Order]:
        """Wait `seconds` (whole milliseconds of it), or until told to drain or to take another share.

        Returns the orders that came meanwhile.
        """
        orders: list[Order] = []
        end = time.monotonic() + seconds
        while (left_ms := int((end - time.monotonic()) * 1000)) > 0:
            if self._poller.poll(left_ms):
                orders += self.receive(0.0)
            if any(isinstance(order, (Drain, TakeShare)) for order in orders):
                break
        return orders

    def close(self) -> None:
        """Send what is still queued, then hang up."""
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close()
        self._context.term()
