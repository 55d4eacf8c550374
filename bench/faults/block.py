"""One block: a steady load, faults, and what the clients' records say of both."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import NamedTuple

import uvloop

from appliance.workload import Arrival
from bench.endpoint import Endpoint
from bench.faults.box import Box
from bench.faults.draw import Draw
from bench.faults.injector import Injector, Moments
from bench.faults.result import FaultConfiguration, FaultLine, Injected
from bench.faults.users import GRACE_SECONDS, Users
from bench.faults.verdict import EQUAL, Asked, Verdict, silences, verdict_on
from bench.results import Origin
from bench.rotation.undisturbed import undisturbed_answers
from bench.rotation.witness import Witness, witnesses

WITNESSES = 12
SHORTEST_PROMPT, LONGEST_PROMPT, COMMON_PREFIX = 8, 120, 48
FEWEST_TOKENS, MOST_TOKENS = 16, 96
AFTER_SECONDS = 1.0
"""How long after requests were served again a stream's silence is still laid to the fault."""


class Known(NamedTuple):
    """Prompts, and the answers they get when nothing else runs."""

    witnesses: list[Witness]
    answers: list[list[int]]


def learn(
    endpoint: Endpoint, vocabulary: int, seed: int, tokens: tuple[int, int] = (FEWEST_TOKENS, MOST_TOKENS)
) -> Known:
    """Ask for every witness alone; `tokens`: of an answer, from and to.

    Every second prompt begins like the others, so that pages are shared. Raises `SemiPDError` where one does not
    answer.
    """
    random = Random(seed)
    lengths = [
        Arrival(0.0, random.randint(SHORTEST_PROMPT, LONGEST_PROMPT), random.randint(*tokens)) for _ in range(WITNESSES)
    ]
    common = tuple(random.randrange(vocabulary) for _ in range(COMMON_PREFIX))
    known = [
        one._replace(prompt=common + one.prompt) if number % 2 else one
        for number, one in enumerate(witnesses(lengths, vocabulary, seed))
    ]
    return Known(known, undisturbed_answers(endpoint, known, GRACE_SECONDS))


class Block(NamedTuple):
    """What a block needs to know. `numbers`: of its faults."""

    box: Box
    configuration: FaultConfiguration
    known: Known
    draw: Draw
    numbers: Sequence[int]

    def measure(self, origin: Origin) -> FaultLine:
        """Carry it out. It ends early where the appliance has ended."""
        start = time.monotonic()
        asked = self.configuration
        users = Users(self.box.endpoint, self.known.witnesses, asked.streams, asked.whole, lambda: _since(start))
        injector = Injector(self.box, asked, self.draw, lambda: _since(start))

        async def run() -> list[Moments]:
            faults, _ = await asyncio.gather(self._inject(injector, users), users.run())
            return faults

        faults = uvloop.run(run())
        return self._line(origin, users.asked, faults, _since(start))

    async def _inject(self, injector: Injector, users: Users) -> list[Moments]:
        """In a thread of its own, so that the event loop that reads the streams never waits."""
        faults = list[Moments]()
        with ThreadPoolExecutor(1, thread_name_prefix="faults") as thread:
            try:
                for number in self.numbers:
                    faults.append(await asyncio.get_running_loop().run_in_executor(thread, injector.inject, number))
                    if self.box.has_ended:
                        break
            finally:
                users.stop()
        return faults

    def _line(self, origin: Origin, asked: list[Asked], faults: list[Moments], seconds: float) -> FaultLine:
        for one in asked:
            one.is_own = any(one.port in fault.doomed and one.waits_at(fault.at) for fault in faults)
        verdicts = [verdict_on(one, self.known.answers) for one in asked]
        whole = [one for one, verdict in zip(asked, verdicts, strict=True) if verdict.kind == EQUAL]
        return FaultLine(
            origin=origin,
            configuration=self.configuration,
            faults=tuple(_injected(fault, asked) for fault in faults),
            requests=len(asked),
            verdicts=dict(Counter(verdict.kind for verdict in verdicts)),
            tokens=sum(one.record.completion_tokens or 0 for one in whole),
            seconds=round(seconds, 1),
            pages_left=self.box.pages_left(),
            load_average=round(os.getloadavg()[0], 2),
            odd=tuple(
                _described(one, verdict, self.known.answers[one.witness], faults)
                for one, verdict in zip(asked, verdicts, strict=True)
                if verdict.is_fault
            ),
        )


def _described(one: Asked, verdict: Verdict, known: Sequence[int], faults: Sequence[Moments]) -> str:
    """Where it went wrong, and which faults it was under way at."""
    given = one.record.token_ids or []
    same = next((at for at, pair in enumerate(zip(given, known, strict=False)) if pair[0] != pair[1]), len(given))
    waited = [
        f"{fault.number} ({fault.target}, {fault.at - one.record.sent:.2f} s after it was sent)"
        for fault in faults
        if one.waits_at(fault.at)
    ]
    return (
        f"{verdict.kind}: witness {one.witness}, a prompt of {one.record.input_tokens} tokens, "
        f"{'streamed' if one.is_streamed else 'whole'}; the first {same} of {len(known)} tokens are right; "
        f"under way at fault {', '.join(waited) or 'none'}"
    )


def _injected(fault: Moments, asked: Sequence[Asked]) -> Injected:
    until = fault.at if fault.served is None else fault.served + AFTER_SECONDS
    return Injected(
        number=fault.number,
        victim=str(fault.target),
        waiting=sum(one.waits_at(fault.at) for one in asked),
        silence_seconds=tuple(round(seconds, 3) for seconds in silences(asked, fault.at, until)),
        served_seconds=_after(fault, fault.served),
        redundant_seconds=_after(fault, fault.redundant),
        ended_seconds=_after(fault, fault.ended),
        problem=fault.problem,
    )


def _after(fault: Moments, moment: float | None) -> float | None:
    return None if moment is None else round(moment - fault.at, 3)


def _since(start: float) -> float:
    return time.monotonic() - start
