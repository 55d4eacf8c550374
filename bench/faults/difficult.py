"""`python -m bench.faults.difficult`: so many difficult clients, until this process' input ends.

A process of its own, at the lowest priority, so that its work is not the client's that measures, nor the appliance's.
It is told what to do in a line of JSON, says READY when all have come, and at the end what they have `Seen`.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import sys
from collections import Counter
from contextlib import suppress
from enum import StrEnum
from statistics import median

import msgspec
import uvloop

from bench.endpoint import Endpoint
from bench.held_process import READY

SETTLE_SECONDS = 90.0
"""Who has not come then is not waited for: `Seen.present` tells how many there were."""
AT_ONCE = 256
"""So many connect at the same time, or the kernel's queue of connections would be what is tried."""
RETURN_SECONDS = 1.0
LOOK_SECONDS = 1.0
DRIP_SECONDS = 1.0
HEADER_SECONDS = 2.0
SMALL_BUFFER = 4096
PROMPT_TOKENS = 16
SHORT_ANSWER, LONG_ANSWER, LONG_EVERY = 64, 800, 10
"""Of readers: the first fits into the buffers on the way, the second, with the probabilities of 20 tokens for each,
does not. One in so many asks for the second, so that the engine has soon computed it all."""
_RESET = struct.pack("ii", 1, 0)  # struct linger: on, for no time


class Kind(StrEnum):
    """`leavers` ask for a stream and leave in the midst of it, `readers` take a byte a second of theirs, `slowloris`
    send a header that never ends, `idle` ones connect and say nothing, or nothing more."""

    LEAVERS = "leavers"
    READERS = "readers"
    SLOWLORIS = "slowloris"
    IDLE = "idle"


class Task(msgspec.Struct):
    """`is_kind`: leavers ask for as much as they take, and stay to its end. `seconds`: in which leavers come, one after
    the other; the others all come at once."""

    kind: Kind
    endpoint: Endpoint
    clients: int
    seconds: float
    vocabulary: int
    is_kind: bool = False


class Seen(msgspec.Struct):
    """`present`: how many were there, at the median of the looks. `ends`: how connections ended, by count."""

    present: int
    ends: dict[str, int]


class Crowd:
    """All of them. `come` returns when each has been there once, `watch` counts them until it is cancelled."""

    def __init__(self, task: Task):
        self._task = task
        self._door = asyncio.Semaphore(AT_ONCE)
        self._came: set[int] = set()
        self._there: set[int] = set()
        self._looks: list[int] = []
        self.ends: Counter[str] = Counter()
        self._clients: list[asyncio.Task[None]] = []

    async def come(self) -> None:
        numbers = range(self._task.clients)
        if self._task.kind is Kind.LEAVERS:
            self._clients = [asyncio.create_task(self._leaver(number)) for number in numbers]
            return
        self._clients = [asyncio.create_task(self._stayer(number)) for number in numbers]
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                while len(self._came) < self._task.clients:
                    await asyncio.sleep(0.05)

    async def watch(self) -> None:
        while True:
            self._looks.append(len(self._there))
            await asyncio.sleep(LOOK_SECONDS)

    async def leave(self) -> None:
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    @property
    def seen(self) -> Seen:
        return Seen(round(median(self._looks)) if self._looks else 0, dict(self.ends))

    # ── one of them ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _leaver(self, number: int) -> None:
        await asyncio.sleep(number * self._task.seconds / self._task.clients)
        await self._visit(number)

    async def _stayer(self, number: int) -> None:
        """Comes back when it is cut off, but for readers, whose next answer would be work for the engine."""
        await self._visit(number)
        while self._task.kind is not Kind.READERS:
            await asyncio.sleep(RETURN_SECONDS)
            await self._visit(number)

    async def _visit(self, number: int) -> None:
        connection = socket.socket(socket.AF_INET6 if ":" in self._task.endpoint.address else socket.AF_INET)
        connection.setblocking(False)
        if self._task.kind is Kind.READERS:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        with connection:
            try:
                async with self._door:
                    await _loop().sock_connect(connection, (self._task.endpoint.address, self._task.endpoint.port))
                self._there.add(number)
                if self._task.kind is not Kind.READERS:
                    self._came.add(number)
                self.ends[await self._behave(connection, number)] += 1
            except OSError as error:
                self.ends["closed" if number in self._there else type(error).__name__] += 1
            finally:
                self._there.discard(number)

    async def _behave(self, connection: socket.socket, number: int) -> str:
        match self._task.kind:
            case Kind.LEAVERS:
                return await self._leave_midway(connection, number)
            case Kind.READERS:
                return await self._read_slowly(connection, number)
            case Kind.SLOWLORIS:
                return await _send_a_header_for_ever(connection)
            case Kind.IDLE:
                return await _say_nothing_more(connection, number)

    async def _leave_midway(self, connection: socket.socket, number: int) -> str:
        """After 2 to 16 tokens, by closing or by a reset."""
        taken = random.Random(number).randint(2, 16)
        wanted = taken if self._task.is_kind else 64 * taken
        await _loop().sock_sendall(connection, self._request(number, wanted))
        seen = b""
        while data := await _loop().sock_recv(connection, 65536):
            seen += data
            if not self._task.is_kind and seen.count(b"data: ") >= taken:
                if number % 2:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return "left"
        status = seen[9:12].decode(errors="replace")
        return "whole" if b"[DONE]" in seen else f"HTTP {status}" if status != "200" else "cut off"

    async def _read_slowly(self, connection: socket.socket, number: int) -> str:
        is_long = number % LONG_EVERY == 0
        request = self._request(number, LONG_ANSWER if is_long else SHORT_ANSWER, 20 if is_long else None)
        await _loop().sock_sendall(connection, request)
        while await _loop().sock_recv(connection, 1):
            self._came.add(number)  # not before it is accepted, so that it is known when all has been computed
            await asyncio.sleep(DRIP_SECONDS)
        return "closed"

    def _request(self, number: int, tokens: int, logprobs: int | None = None) -> bytes:
        drawn = random.Random(f"{os.getpid()}/{number}")
        fields = {
            "model": self._task.endpoint.model,
            "prompt": [drawn.randrange(self._task.vocabulary) for _ in range(PROMPT_TOKENS)],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        return self._task.endpoint.request(
            msgspec.json.encode(fields if logprobs is None else fields | {"logprobs": logprobs})
        )


async def _send_a_header_for_ever(connection: socket.socket) -> str:
    await _loop().sock_sendall(connection, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n")
    while True:
        try:
            async with asyncio.timeout(HEADER_SECONDS):
                answer = await _loop().sock_recv(connection, 4096)
                return f"HTTP {answer[9:12].decode()}" if answer else "closed"
        except TimeoutError:
            await _loop().sock_sendall(connection, b"X-More: y\r\n")


async def _say_nothing_more(connection: socket.socket, number: int) -> str:
    """Every second one asks once, and keeps its connection."""
    if number % 2:
        await _loop().sock_sendall(connection, b"GET /v1/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    status = b"200"
    while answer := await _loop().sock_recv(connection, 4096):
        status = answer[9:12] if answer.startswith(b"HTTP/1.1 ") else status
    return "closed" if status == b"200" else f"HTTP {status.decode()}"


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def _attend(task: Task) -> Seen:
    crowd = Crowd(task)
    await crowd.come()
    print(READY, flush=True)
    watch = asyncio.create_task(crowd.watch())
    await asyncio.to_thread(sys.stdin.read)
    watch.cancel()
    seen = crowd.seen
    await crowd.leave()
    return seen


def main() -> None:
    os.nice(19)
    task = msgspec.json.decode(sys.stdin.readline(), type=Task)
    print(msgspec.json.encode(uvloop.run(_attend(task))).decode(), flush=True)


if __name__ == "__main__":
    main()
