"""Whether tokens come through: those of clients, or else those of a request whose answer is known. Knows no HTTP."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable

from engine.errors import RequestError
from engine.gateway.engine_client import EngineClient
from engine.request import Request, SamplingParams
from engine.scheduler.load_table import LoadSnapshot

log = logging.getLogger("uvicorn.error")  # the server's own log: one place to look

KNOWN_TOKEN = 1
"""What a probe is answered with, whatever the model: its logit is raised above all others."""
RAISED_BY = 1e4
PROBE_TOKENS = 2
"""The first is prefill's, the second decode's."""
BEFORE_ALL = -(1 << 31)
LOOKS_A_PROBE = 5

WRONG = "A request whose answer is known was answered with something else."


class PathWatch:
    """`load` is what the engine says of itself. While it has work that moves, nothing is asked."""

    def __init__(self, engine: EngineClient, load: Callable[[], LoadSnapshot], probe_seconds: float):
        self._engine = engine
        self._load = load
        self._probe_seconds = probe_seconds
        self._steps = (0, 0)
        self._moved_at = time.monotonic()
        self.problem = ""
        """Why requests would not be answered, in a sentence; empty as far as is known."""

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(self._probe_seconds / LOOKS_A_PROBE)
            before = self.problem
            await self.look()
            if bool(before) != bool(self.problem):
                log.warning("%s", self.problem or "Tokens come through again.")

    async def look(self) -> None:
        """Ask for tokens where nothing has moved for long, or where the last who asked got none."""
        has_moved = self._has_moved()
        if has_moved and self.problem != WRONG:
            self.problem = ""
        if not self._load().ready:
            self._moved_at = time.monotonic()  # that is told already; workers that are ready have computed a step
        elif self.problem or time.monotonic() - self._moved_at > self._probe_seconds:
            answer = await self._probe()
            self.problem = "" if answer != WRONG and self._has_moved() else answer

    def _has_moved(self) -> bool:
        """True if a step was computed since the last look."""
        load = self._load()
        before, self._steps = self._steps, (load.prefill_steps, load.decode_steps)
        if before != self._steps:
            self._moved_at = time.monotonic()
        return before != self._steps

    async def _probe(self) -> str:
        """What is wrong, in a sentence; empty if nothing is."""
        patience = 2 * self._probe_seconds
        try:
            async with asyncio.timeout(patience):
                tokens = await self._answer()
        except TimeoutError:
            quiet = time.monotonic() - self._moved_at
            return f"No token has come through for {quiet:.0f} s, nor one that was asked for in {patience:g} s."
        except RequestError as error:
            return f"No token comes through: {error}"
        return "" if tokens == [KNOWN_TOKEN] * PROBE_TOKENS else WRONG

    async def _answer(self) -> list[int]:
        sampling = SamplingParams(max_tokens=PROBE_TOKENS, temperature=0.0, logit_bias={KNOWN_TOKEN: RAISED_BY})
        request = Request(
            secrets.randbits(63),
            [KNOWN_TOKEN],
            sampling,
            priority=BEFORE_ALL,
            received_at=time.monotonic(),
            is_probe=True,
        )
        with self._engine.submit(request) as generation:
            await generation.accepted()
            while len(generation.emitted_ids) < PROBE_TOKENS:
                await generation.next_tokens()
            return generation.emitted_ids
