"""Sends requests at their times and notes what comes back. One event loop, no work beside it.

Each request has a connection of its own. In an open loop its time begins before it connects: a front end that is slow
to accept is part of what a user waits for. The client also measures itself: how late it sends, and how late its event
loop is.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, cast

import uvloop

from bench.answer_reader import AnswerReader
from bench.endpoint import Endpoint
from bench.record import Observed, Record

LAG_PERIOD = 0.005
"""Seconds between two looks at the event loop's own lateness."""

LONGEST_SLEEP = 0.25
"""Seconds after which a client that waits for the next request's time looks whether the run is hopeless."""

IsHopeless = Callable[[Record], bool]
"""Told of each request that ends; true if the run need not go on."""


class Planned(NamedTuple):
    """A request and where to write down what became of it."""

    record: Record
    request: bytes


class Reader(Protocol):
    """Fills a record with the bytes of an answer."""

    is_finished: bool

    def feed(self, data: bytes, now: float) -> None: ...

    def end(self) -> None: ...


class Exchange(asyncio.Protocol):
    """One connection: sends the request when told to, reads the answer."""

    def __init__(self, planned: Planned, clock: Callable[[], float], reader: Callable[[Record], Reader] = AnswerReader):
        self.record = planned.record
        self._request = planned.request
        self._reader = reader(planned.record)
        self._clock = clock
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are not of asyncio's classes

    @property
    def port(self) -> int:
        """The client's own, by which a server's process is found to hold the other end."""
        return self._transport.get_extra_info("sockname")[1]

    def send(self) -> None:
        self._transport.write(self._request)

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data, self._clock())
        if self._reader.is_finished:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self.finished.done():
            self._reader.end()
            self.finished.set_result(None)


class LoadClient:
    """One run against one endpoint; `start` is `time.monotonic()` at its time 0."""

    def __init__(self, endpoint: Endpoint, start: float, grace_seconds: float, is_hopeless: IsHopeless | None = None):
        self._endpoint = endpoint
        self._tls: ssl.SSLContext | None = endpoint.tls_context
        self._start = start
        self._grace_seconds = grace_seconds
        self._is_hopeless = is_hopeless or (lambda record: False)
        self._hopeless = asyncio.Event()
        self._loop_lags: list[float] = []

    async def open_loop(self, plan: Sequence[Planned]) -> Observed:
        """Send each when it is due, whatever became of the others; wait for answers `grace_seconds` after the last."""
        return await self._observed(plan, self._send_on_time(plan))

    async def rounds(self, plan: Sequence[Sequence[Planned]]) -> Observed:
        """A closed loop: all of a round at once, the next round when the last of it has ended.

        Connections are made before a round begins: a hundred of them at once would make the client late.
        """
        return await self._observed([planned for one in plan for planned in one], self._send_in_rounds(plan))

    async def _observed(self, plan: Sequence[Planned], sending: Coroutine[Any, Any, None]) -> Observed:
        meter = asyncio.create_task(self._watch_lag())
        with _no_garbage_collection():
            await sending
        meter.cancel()
        return Observed([planned.record for planned in plan], self._loop_lags, self._hopeless.is_set())

    async def _send_on_time(self, plan: Sequence[Planned]) -> None:
        exchanges = set[asyncio.Task[None]]()
        for planned in plan:
            await self._wait_until(planned.record.due)
            if self._hopeless.is_set():
                break
            exchanges.add(asyncio.create_task(self._exchange(planned)))
        await self._wait_for(exchanges)

    async def _send_in_rounds(self, plan: Sequence[Sequence[Planned]]) -> None:
        for together in plan:
            connected = await asyncio.gather(*(self._connected(planned) for planned in together))
            exchanges = [exchange for exchange in connected if exchange]
            now = self._now()
            for planned in together:
                planned.record.due = planned.record.sent = now
            for exchange in exchanges:
                exchange.record.sent = self._now()
                exchange.send()
            await self._wait_for({asyncio.create_task(self._answered(exchange)) for exchange in exchanges})

    async def _wait_for(self, exchanges: set[asyncio.Task[None]]) -> None:
        """Until all have ended, or the run is hopeless, or the grace is over; then the rest are left unfinished."""
        hopeless = asyncio.create_task(self._hopeless.wait())
        everything = asyncio.gather(*exchanges)
        await asyncio.wait((everything, hopeless), timeout=self._grace_seconds, return_when=asyncio.FIRST_COMPLETED)
        hopeless.cancel()
        for exchange in exchanges:
            exchange.cancel()
        await asyncio.gather(everything, hopeless, return_exceptions=True)
        for exchange in exchanges:
            if not exchange.cancelled():
                exchange.result()

    async def _exchange(self, planned: Planned) -> None:
        planned.record.sent = self._now()
        if exchange := await self._connected(planned):
            exchange.send()
            await self._answered(exchange)
        elif self._is_hopeless(planned.record):
            self._hopeless.set()

    async def _connected(self, planned: Planned) -> Exchange | None:
        """None if there was no connection, which the record then says."""
        endpoint = self._endpoint
        try:
            _, exchange = await asyncio.get_running_loop().create_connection(
                lambda: Exchange(planned, self._now),
                endpoint.address,
                endpoint.port,
                ssl=self._tls,
                server_hostname=endpoint.host if self._tls else None,
            )
        except OSError:
            planned.record.failure = "no connection"
            return None
        return exchange

    async def _answered(self, exchange: Exchange) -> None:
        try:
            await exchange.finished
        finally:
            exchange.close()
        if self._is_hopeless(exchange.record):
            self._hopeless.set()

    async def _wait_until(self, due: float) -> None:
        """Early only where the run has become hopeless. The loop's timers are rounded to milliseconds, the rest is
        spent going round."""
        while (delay := due - self._now()) > 0 and not self._hopeless.is_set():
            await asyncio.sleep(min(delay, LONGEST_SLEEP))

    async def _watch_lag(self) -> None:
        """A stall counts as often as it was missed, else one long stall would pass as a single look."""
        expected = self._now() + LAG_PERIOD
        while True:
            await asyncio.sleep(max(0.0, expected - self._now()))
            now = max(self._now(), expected)
            while expected <= now:
                self._loop_lags.append(now - expected)
                expected += LAG_PERIOD

    def _now(self) -> float:
        return time.monotonic() - self._start


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection in the midst of a run would stop the client for milliseconds."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run_open_loop(
    endpoint: Endpoint,
    plan: Sequence[Planned],
    start: float,
    grace_seconds: float,
    is_hopeless: IsHopeless | None = None,
) -> Observed:
    """An open loop in this process."""

    async def run() -> Observed:
        return await LoadClient(endpoint, start, grace_seconds, is_hopeless).open_loop(plan)

    return uvloop.run(run())


def run_rounds(endpoint: Endpoint, plan: Sequence[Sequence[Planned]], grace_seconds: float) -> Observed:
    """A closed loop in this process."""

    async def run() -> Observed:
        return await LoadClient(endpoint, time.monotonic(), grace_seconds).rounds(plan)

    return uvloop.run(run())
