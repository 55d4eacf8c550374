"""A steady load: so many users, each of whom asks again as soon as he is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

from bench.answer_reader import AnswerReader
from bench.client import Exchange, Planned
from bench.endpoint import Endpoint
from bench.faults.verdict import Asked
from bench.faults.whole_reader import WholeReader
from bench.record import Record
from bench.rotation.witness import Witness

AFTER_REFUSAL_SECONDS = 0.25
GRACE_SECONDS = 90.0
"""How long answers are waited for at the end: longer than the engine waits before it gives any up."""


class Users:
    """`streams` of them read as it is written, `whole` wait for the whole answer. `asked` is what they have asked."""

    def __init__(
        self, endpoint: Endpoint, witnesses: Sequence[Witness], streams: int, whole: int, clock: Callable[[], float]
    ):
        self._endpoint = endpoint
        self._witnesses = witnesses
        self._kinds = [True] * streams + [False] * whole
        self._clock = clock
        self._is_over = False
        self.asked: list[Asked] = []

    def stop(self) -> None:
        """Ask no more."""
        self._is_over = True

    async def run(self) -> None:
        """Until `stop`, and until everybody is answered or the grace is over."""
        users = [asyncio.create_task(self._user(number, kind)) for number, kind in enumerate(self._kinds)]
        while not self._is_over:
            await asyncio.sleep(0.1)
        done, late = await asyncio.wait(users, timeout=GRACE_SECONDS)
        for user in late:
            user.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for user in done:
            user.result()

    async def _user(self, number: int, is_streamed: bool) -> None:
        random = Random(number)
        while not self._is_over:
            witness = random.randrange(len(self._witnesses))
            asked = Asked(witness, is_streamed, self._new_record(witness))
            self.asked.append(asked)
            await self._ask(asked)
            if (asked.record.failure or "").startswith(("HTTP", "no connection")):
                await asyncio.sleep(AFTER_REFUSAL_SECONDS)

    def _new_record(self, witness: int) -> Record:
        one, now = self._witnesses[witness], self._clock()
        return Record(now, len(one.prompt), one.output_tokens, sent=now, token_ids=[])

    async def _ask(self, asked: Asked) -> None:
        request = self._witnesses[asked.witness].request(self._endpoint, asked.is_streamed)
        reader = AnswerReader if asked.is_streamed else WholeReader
        planned = Planned(asked.record, request)
        try:
            _, exchange = await asyncio.get_running_loop().create_connection(
                lambda: Exchange(planned, self._clock, reader), self._endpoint.address, self._endpoint.port
            )
        except OSError:
            asked.record.failure, asked.ended = "no connection", self._clock()
            return
        try:
            with suppress(OSError, TypeError):  # reset already: then it has no name any more, and is cut off
                asked.port = exchange.port
            exchange.send()
            await exchange.finished
        finally:
            asked.ended = self._clock()
            exchange.close()
