"""A process beside a gateway worker, for work that may have to be ended in the middle: both ends of its socket.

They say a length, then bytes, in turn. The child's first byte says that it is ready.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable

from engine.process import SUPERVISOR_VARIABLE

_LENGTH = struct.Struct("=I")
_READY = b"+"
_START_SECONDS = 60.0


class SideProcess:
    """The child and the socket that is its standard input. No child watcher is needed: it is only ever killed."""

    def __init__(self, module: str, *arguments: str):
        """`python -m MODULE ARGUMENTS…`; it is to call `answer_orders`."""
        self._ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**os.environ, SUPERVISOR_VARIABLE: str(os.getpid())},
            )
        self._writer: asyncio.StreamWriter | None = None

    async def ready(self) -> None:
        """Raises `OSError` or `asyncio.IncompleteReadError` where it does not start."""
        self._reader, self._writer = await asyncio.open_connection(sock=self._ours)
        try:
            await asyncio.wait_for(self._reader.readexactly(len(_READY)), _START_SECONDS)
        except TimeoutError as error:
            raise ConnectionError("the process does not start") from error

    async def ask(self, order: bytes) -> bytes:
        """What it answers. Raises as `ready` does where it ends; who does not wait for the answer must `end` it."""
        assert self._writer is not None
        self._writer.write(_LENGTH.pack(len(order)) + order)
        await self._writer.drain()
        (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
        return await self._reader.readexactly(length)

    def end(self) -> None:
        self._child.kill()
        self._child.wait()
        if self._writer is None:
            self._ours.close()
        else:
            self._writer.close()


def answer_orders(answer: Callable[[bytes], bytes]) -> None:
    """The child's side: say ready, then answer one order after the other until the gateway hangs up."""
    with socket.socket(fileno=sys.stdin.fileno()) as connection, connection.makefile("rwb") as stream:
        stream.write(_READY)
        stream.flush()
        while head := stream.read(_LENGTH.size):
            answered = answer(stream.read(*_LENGTH.unpack(head)))
            stream.write(_LENGTH.pack(len(answered)) + answered)
            stream.flush()
