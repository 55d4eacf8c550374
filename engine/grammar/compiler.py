"""The gateway's side of its compile process: asks it, keeps what it made, and ends it when it takes too long."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from pathlib import Path

import msgspec

from engine.errors import EngineFailure, InvalidRequest
from engine.gateway.side_process import SideProcess
from engine.grammar.compiled import Compiled
from engine.grammar.library import is_installed

COMPILE_SECONDS = 10.0
"""Ordinary schemas take tens of milliseconds, bounded strings and patterns over a large vocabulary seconds."""
_MODULE = "engine.grammar.compile_process"
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
        self._process: SideProcess | None = None
        self._kept: OrderedDict[bytes, Compiled] = OrderedDict()

    def stop(self) -> None:
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
            answer = await asyncio.wait_for(process.ask(schema), self._seconds)
            return msgspec.msgpack.decode(answer, type=Compiled)
        except TimeoutError:
            self._end()
            return Compiled(problem=f"The schema takes longer than {self._seconds:g} s to compile.")
        except (OSError, asyncio.IncompleteReadError):
            self._end()
            return Compiled(problem="The schema cannot be compiled within the memory there is for it.")
        except BaseException:
            self._end()  # an answer that nobody waits for must not be taken for the next one
            raise

    async def _running(self) -> SideProcess:
        if self._process is None:
            self._process = SideProcess(_MODULE, str(self._model_path))
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
