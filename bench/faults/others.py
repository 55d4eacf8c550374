"""Whom difficult clients must not disturb: users who stream, and requests that come in new, all measured here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import uvloop

from appliance.workload import Arrival
from bench.client import Exchange, Planned
from bench.endpoint import Endpoint
from bench.prompts import Prompts
from bench.record import Record

PROMPT_TOKENS = 32
NEW_TOKENS = 2
"""Of a request that comes in new: it is its first token that is timed."""
GRACE_SECONDS = 60.0


class Measured(NamedTuple):
    """What came of a round."""

    streamed: list[Record]
    new: list[Record]


class Others(NamedTuple):
    """`streams` users who ask for `tokens` again and again, and `new_per_second` short requests beside them."""

    endpoint: Endpoint
    streams: int
    tokens: int
    new_per_second: float
    vocabulary: int

    def measure(self, seconds: float) -> Measured:
        """Ask for so long, and wait for what is under way then."""
        return uvloop.run(self._measure(seconds))

    async def _measure(self, seconds: float) -> Measured:
        start = time.monotonic()

        def clock() -> float:
            return time.monotonic() - start

        streamed = [asyncio.create_task(self._user(seconds, clock)) for _ in range(self.streams)]
        new = list[asyncio.Task[Record]]()
        for number in range(round(seconds * self.new_per_second)):
            await asyncio.sleep(number / self.new_per_second - clock())
            new.append(asyncio.create_task(self._ask(NEW_TOKENS, clock)))
        answered = await asyncio.gather(*streamed)
        return Measured([record for records in answered for record in records], list(await asyncio.gather(*new)))

    async def _user(self, seconds: float, clock: Callable[[], float]) -> list[Record]:
        records = list[Record]()
        while clock() < seconds:
            records.append(await self._ask(self.tokens, clock))
            if records[-1].failure is not None:
                await asyncio.sleep(0.25)
        return records

    async def _ask(self, tokens: int, clock: Callable[[], float]) -> Record:
        """A request on a connection of its own; its time begins before that is made."""
        arrival = Arrival(clock(), PROMPT_TOKENS, tokens)
        (request,) = Prompts(self.vocabulary).requests(self.endpoint, [arrival])
        record = Record(*arrival, sent=clock())
        await answered(self.endpoint, Planned(record, request), clock)
        return record


async def answered(endpoint: Endpoint, planned: Planned, clock: Callable[[], float]) -> float:
    """Send a request on a connection of its own, and fill its record. When its answer, or what there was, had ended."""
    record, ended = planned.record, None
    try:
        async with asyncio.timeout(GRACE_SECONDS):
            _, exchange = await asyncio.get_running_loop().create_connection(
                lambda: Exchange(planned, clock), endpoint.address, endpoint.port
            )
            try:
                exchange.send()
                await exchange.finished
                ended = clock()
            finally:
                exchange.close()
    except TimeoutError:
        record.failure = "unfinished"
    except OSError:
        record.failure = "no connection"
    return clock() if ended is None else ended
