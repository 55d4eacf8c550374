"""The gateway's side of its template process: starts it, asks it, and ends it when it takes too long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import EngineFailure, InvalidRequest
from engine.gateway.side_process import SideProcess
from engine.gateway.template_messages import Render, Rendered

RENDER_SECONDS = 5.0
"""Templates take about a millisecond; the limit leaves room for a machine that is busy with other things."""
_MODULE = "engine.gateway.template_process"


class TemplateRenderer:
    """Renders one conversation after the other. A process that was ended is started again by the next."""

    def __init__(self, model_path: Path, most_characters: int, seconds: float | None = None):
        """`most_characters`: of a rendered prompt. `seconds`: for one conversation."""
        self._model_path = model_path
        self._most_characters = most_characters
        self._seconds = RENDER_SECONDS if seconds is None else seconds
        self._turn = asyncio.Lock()
        self._process: SideProcess | None = None
        self._first_start: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start in the background, so that the first conversation need not wait."""
        self._first_start = asyncio.create_task(self._start())

    async def stop(self) -> None:
        if self._first_start is not None:
            self._first_start.cancel()
            await asyncio.gather(self._first_start, return_exceptions=True)
        self._end()

    async def render(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]],
        more: dict[str, Any],
        *,
        is_open: bool,
    ) -> str:
        """The prompt. Raises `InvalidRequest`, or `EngineFailure` where the process cannot be had."""
        order = _encoded(Render(list(messages), list(tools), more, is_open, self._most_characters))
        async with self._turn:
            try:
                process = await self._running()
                answer = await asyncio.wait_for(process.ask(order), self._seconds)
            except TimeoutError as error:
                self._end()
                raise InvalidRequest(
                    f"The chat template takes longer than {self._seconds:g} s for these messages.", param="messages"
                ) from error
            except (OSError, asyncio.IncompleteReadError) as error:
                self._end()
                raise EngineFailure("The process that renders chat templates ended.") from error
            except BaseException:
                self._end()  # an answer that nobody waits for must not be taken for the next one
                raise
        rendered = msgspec.json.decode(answer, type=Rendered)
        if rendered.problem:
            raise InvalidRequest(rendered.problem, param="messages")
        return rendered.text

    async def _start(self) -> None:
        async with self._turn:
            await self._running()

    async def _running(self) -> SideProcess:
        if self._process is None:
            self._process = SideProcess(_MODULE, str(self._model_path))
            await self._process.ready()
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


def _encoded(order: Render) -> bytes:
    try:
        return msgspec.json.encode(order)
    except RecursionError as error:
        raise InvalidRequest("The messages are nested too deeply.", param="messages") from error
