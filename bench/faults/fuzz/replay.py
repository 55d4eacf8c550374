"""Replays traces: tenants with keys of their own at once, who look for one another's words in all that they get."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import httpx

from appliance.control.client import ask
from appliance.control.messages import AddKey
from bench.faults.box import Box
from bench.faults.fuzz.crashes import Crashes
from bench.faults.fuzz.requests import endpoint_of, left_over
from bench.faults.fuzz.result import FuzzConfiguration, FuzzLine
from bench.faults.fuzz.trace import Planned, canaries, trace
from bench.results import Origin
from engine.errors import SemiPDError

TENANTS = 4
REQUESTS = 400
"""Of a trace."""
REQUESTS_A_SECOND = 6.0
SLOW_SECONDS = 1.0
AGAIN = 3
PATIENCE_SECONDS = 60.0


class Answer(NamedTuple):
    """All that came, its headers included. `silence_seconds`: the longest while nothing did."""

    status: str
    data: bytes
    silence_seconds: float


class Tenants:
    """Their keys are made here, and end with the appliance."""

    def __init__(self, box: Box, count: int = TENANTS):
        self.keys = [_key(box, f"tenant-{time.time_ns()}-{number}") for number in range(count)]
        self.endpoint = endpoint_of(box)


class Replay(NamedTuple):
    """What a round needs to know."""

    box: Box
    configuration: FuzzConfiguration
    tenants: Tenants

    def round(self, number: int, origin: Origin, say: Callable[[str], None]) -> FuzzLine:
        began, crashes = time.monotonic(), Crashes(self.box)
        seed = self.configuration.seed * 1_000_003 + number
        words = canaries(seed, len(self.tenants.keys))
        endpoint = self.tenants.endpoint
        planned = trace(seed, words, endpoint.model, REQUESTS, REQUESTS / REQUESTS_A_SECOND)
        answers = asyncio.run(self._all(planned))
        problems = (
            [problem for one, answer in zip(planned, answers, strict=True) for problem in judged(one, answer, words)]
            + crashes.since()
            + left_over(self.box)
        )
        for problem in problems:
            say(problem)
        return FuzzLine(
            origin,
            self.configuration,
            number,
            len(answers),
            dict(sorted(Counter(answer.status for answer in answers).items())),
            tuple(problems),
            round(max(answer.silence_seconds for answer in answers), 3),
            sum(answer.data.count(words[one.tenant].encode()) for one, answer in zip(planned, answers, strict=True)),
            round(time.monotonic() - began, 1),
            round(os.getloadavg()[0], 2),
        )

    async def _all(self, planned: Sequence[Planned]) -> list[Answer]:
        """Each at its time. Who waited long is sent again when nobody else is there: then only its own work counts."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        options = {"base_url": self.tenants.endpoint.url, "timeout": PATIENCE_SECONDS, "trust_env": False}
        async with httpx.AsyncClient(limits=limits, **options) as client:
            began = time.monotonic()

            async def at_its_time(one: Planned) -> Answer:
                await asyncio.sleep(max(0.0, began + one.at - time.monotonic()))
                return await self._one(client, one)

            answers = await asyncio.gather(*(at_its_time(one) for one in planned))
            return [await self._alone(client, one, answer) for one, answer in zip(planned, answers, strict=True)]

    async def _alone(self, client: httpx.AsyncClient, one: Planned, answer: Answer) -> Answer:
        for _ in range(AGAIN):
            if answer.silence_seconds > SLOW_SECONDS:
                again = await self._one(client, one)
                silence = min(answer.silence_seconds, again.silence_seconds)
                answer = answer._replace(silence_seconds=silence, data=answer.data + again.data)
        return answer

    async def _one(self, client: httpx.AsyncClient, one: Planned) -> Answer:
        headers = {"Authorization": f"Bearer {self.tenants.keys[one.tenant]}"}
        method = "GET" if one.body is None else "POST"
        data, last, silence, status = bytearray(), time.monotonic(), 0.0, "no answer"
        try:
            async with client.stream(method, one.path, json=one.body, headers=headers) as answer:
                status = str(answer.status_code)
                data += repr(answer.headers.raw).encode()
                pieces = 0
                async for piece in answer.aiter_raw():
                    data += piece
                    now = time.monotonic()
                    last, silence, pieces = now, max(silence, now - last), pieces + 1
                    if pieces == one.leaves_after:
                        break
        except httpx.HTTPError as error:
            status = f"no answer, {type(error).__name__}"
        return Answer(status, bytes(data), max(silence, time.monotonic() - last))


def judged(one: Planned, answer: Answer, words: Sequence[str]) -> list[str]:
    """What is wrong with an answer to a valid request: it may be refused only for lack of room."""
    problems = list[str]()
    if answer.status not in ("200", "503", "429"):
        problems.append(f"{answer.status} to a valid request")
    if answer.status in ("503", "429") and b"retry-after" not in answer.data.lower():
        problems.append(f"{answer.status} without Retry-After")
    if one.body is not None and b'data: {"error"' in answer.data:
        problems.append("an error event in a stream")
    if answer.silence_seconds > SLOW_SECONDS:
        problems.append(f"nothing for {answer.silence_seconds:.1f} s")
    foreign = [word for tenant, word in enumerate(words) if tenant != one.tenant and word.encode() in answer.data]
    if foreign:
        problems.append("another tenant's word")
    return [f"{problem}: {one.path} {one.body}" for problem in problems]


def _key(box: Box, name: str) -> str:
    reply = ask(box.instance, AddKey(name, by="bench"))
    if not reply.done:
        raise SemiPDError(f"No key could be made for a tenant: {reply.sentence}")
    return json.loads(reply.data)["key"]
