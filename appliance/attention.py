"""What the controlling process waits for: sockets, ends of processes, and signals, which only set a byte in a pipe."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable

import zmq

_LOOK_AGAIN_MS = 50


class Attention:
    """`wait` calls the handlers of whatever is readable; a signal it only reports, so that the caller decides."""

    def __init__(self, signals: Iterable[signal.Signals]):
        self._poller = zmq.Poller()
        self._handlers: dict[object, Callable[[], None]] = {}
        self._signal_read, signal_write = os.pipe()
        self._poller.register(self._signal_read, zmq.POLLIN)
        for sign in signals:
            signal.signal(sign, lambda *_: os.write(signal_write, b"\0"))

    def watch(self, source: zmq.Socket | int, handle: Callable[[], None]) -> None:
        """Call `handle` whenever the socket or file descriptor is readable."""
        self._handlers[source] = handle
        self._poller.register(source, zmq.POLLIN)

    def forget(self, source: zmq.Socket | int) -> None:
        """No longer watch it; nothing happens if nobody did."""
        if self._handlers.pop(source, None):
            self._poller.unregister(source)

    def wait(self, milliseconds: int | None = None) -> bool:
        """Handle what happens next; True if a signal came."""
        events = dict(self._poller.poll(milliseconds))
        for source in events:
            if source in self._handlers:
                self._handlers[source]()
        if self._signal_read not in events:
            return False
        os.read(self._signal_read, 1)
        return True

    def wait_until(self, is_done: Callable[[], bool], seconds: float | None = None) -> bool:
        """Handle what happens until `is_done`, or for `seconds`; True if a signal cut it short."""
        end = None if seconds is None else time.monotonic() + seconds
        while not is_done() and (end is None or time.monotonic() < end):
            if self.wait(_LOOK_AGAIN_MS):
                return True
        return False
