"""The gateway's side of its compile process: asks it, keeps what it made, and ends it when it takes too long."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import msgspec

from engine.errors import EngineFailure, InvalidRequest
from engine.grammar.library import is_installed
from engine.grammar.messages import LENGTH, READY, Compiled
from engine.process import SUPERVISOR_VARIABLE

COMPILE_SECONDS = 10.0
"""Ordinary schemas take tens of milliseconds; long bounded strings and patterns over a large vocabulary take seconds."""
_START_SECONDS = 60.0
_MOST_KEPT = 512


class GrammarCompiler:
    """Compiles one schema after the other, each once: also what could not be compiled is remembered.

    The process starts with the first schema. One that was ended is started again by the next.
    """

    def __init__(self, model_path: Path, seconds: float | None = None):
        """`seconds`: for one schema."""
        self._model_path = model_path
        self._seconds = COMPILE_SECONDS if seconds is None else seconds
        self._turn = asyncio.Lock()
        self._process: _Process | None = None
        self._kept: OrderedDict[bytes, Compiled] = OrderedDict()

    async def stop(self) -> None:
        self._end()

    async def grammar(self, schema: bytes) -> bytes:
        """The packed grammar of a schema that was checked. Raises `InvalidRequest`, or `EngineFailure` where the
        process cannot be had."""
        if not is_installed():
            raise InvalidRequest("Structured output is not installed here: xgrammar is missing.")
        async with self._turn:
            if schema not in self._kept:
                self._keep(schema, await self._compiled(schema))
            self._kept.move_to_end(schema)
            compiled = self._kept[schema]
        if compiled.problem:
            raise InvalidRequest(compiled.problem)
        return compiled.grammar

    def _keep(self, schema: bytes, compiled: Compiled) -> None:
        self._kept[schema] = compiled
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    async def _compiled(self, schema: bytes) -> Compiled:
        process = await self._running()
        try:
            return await asyncio.wait_for(process.ask(schema), self._seconds)
        except TimeoutError:
            self._end()
            return Compiled(problem=f"The schema takes longer than {self._seconds:g} s to compile.")
        except (OSError, asyncio.IncompleteReadError):
            self._end()
            return Compiled(problem="The schema cannot be compiled within the memory there is for it.")
        except BaseException:
            self._end()  # an answer that nobody waits for must not be taken for the next one
            raise

    async def _running(self) -> _Process:
        if self._process is None:
            self._process = _Process(self._model_path)
            try:
                await self._process.ready()
            except BaseException as error:
                self._end()
                if isinstance(error, OSError | asyncio.IncompleteReadError):
                    raise EngineFailure("The process that compiles schemas does not start.") from error
                raise
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


class _Process:
    """The child and the socket that is its standard input. No child watcher is needed: it is only ever killed."""

    def __init__(self, model_path: Path):
        self._ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "engine.grammar.compile_process", str(model_path)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**os.environ, SUPERVISOR_VARIABLE: str(os.getpid())},
            )
        self._writer: asyncio.StreamWriter | None = None

    async def ready(self) -> None:
        """Raises `OSError` or `asyncio.IncompleteReadError` where it does not start."""
        self._reader, self._writer = await asyncio.open_connection(sock=self._ours)
        try:
            await asyncio.wait_for(self._reader.readexactly(len(READY)), _START_SECONDS)
        except TimeoutError as error:
            raise ConnectionError("the compile process does not start") from error

    async def ask(self, schema: bytes) -> Compiled:
        assert self._writer is not None
        self._writer.write(LENGTH.pack(len(schema)) + schema)
        await self._writer.drain()
        (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
        return msgspec.msgpack.decode(await self._reader.readexactly(length), type=Compiled)

    def end(self) -> None:
        self._child.kill()
        self._child.wait()
        if self._writer is None:
            self._ours.close()
        else:
            self._writer.close()
