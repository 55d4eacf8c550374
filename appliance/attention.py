"""What the controlling process waits for: sockets, ends of processes, timers, and calls from other threads."""

from __future__ import annotations

import heapq
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TypeVar

import zmq

from engine.errors import SemiPDError

T = TypeVar("T")


class Closed(SemiPDError):
    """Nobody attends to this any more."""


class Attention:
    """Everything happens in the one thread that calls `turn`; others ask for it with `call`."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._handlers: dict[zmq.Socket | int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = threading.Lock()
        self._is_closed = False
        self.watch(self._wake, self._run_calls)

    def watch(self, source: zmq.Socket | int, handle: Callable[[], None]) -> None:
        """Call `handle` whenever the socket or file descriptor is readable."""
        self._handlers[source] = handle
        self._poller.register(source, zmq.POLLIN)

    def forget(self, source: zmq.Socket | int) -> None:
        """No longer watch it; nothing happens if nobody did."""
        if self._handlers.pop(source, None):
            self._poller.unregister(source)

    def when_ended(self, pids: Iterable[int], act: Callable[[], None]) -> None:
        """Call `act` once none of these processes is there any more, which may be now."""
        left: set[int] = set()
        for pid in pids:
            with suppress(ProcessLookupError):
                left.add(os.pidfd_open(pid))

        def ended(pidfd: int) -> None:
            self.forget(pidfd)
            os.close(pidfd)
            left.remove(pidfd)
            if not left:
                act()

        for pidfd in left:
            self.watch(pidfd, partial(ended, pidfd))
        if not left:
            act()

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Call `act` once, in `seconds`."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), act))

    def call(self, act: Callable[[], T]) -> Future[T]:
        """Have `act` run in the attending thread; its result or exception is the future's.

        The exception is `Closed` where nobody attends any more.
        """
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(act())
            except BaseException as error:
                future.set_exception(error)

        with self._closing:
            if self._is_closed:
                future.set_exception(Closed("The appliance has stopped."))
            else:
                self._calls.put(run)
                os.eventfd_write(self._wake, 1)
        return future

    def turn(self) -> None:
        """Wait for what happens next, and handle it."""
        for source in dict(self._poller.poll(self._milliseconds_to_next_timer())):
            if source in self._handlers:  # one handled before it may have been the end of it
                self._handlers[source]()
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def close(self) -> None:
        """Nothing is waited for any more; what was asked for before is still done."""
        with self._closing:
            self._is_closed = True
        while not self._calls.empty():
            self._calls.get()()
        os.close(self._wake)

    def _milliseconds_to_next_timer(self) -> int | None:
        if not self._timers:
            return None
        return max(0, round((self._timers[0][0] - time.monotonic()) * 1000) + 1)

    def _run_calls(self) -> None:
        os.eventfd_read(self._wake)
        while not self._calls.empty():
            self._calls.get()()
