"""The generations of one HTTP request: admitted all or none, read together, left together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self

from engine.gateway.engine_client import EngineClient
from engine.gateway.generation import Generation
from engine.request import Request


class Batch:
    """Leaving it as a context cancels what is not finished."""

    def __init__(self, generations: list[Generation], news: asyncio.Event):
        self.generations = generations
        self._news = news

    @classmethod
    def submit(cls, engine: EngineClient, requests: Sequence[Request]) -> Self:
        """Hand in all requests. Raises `Overloaded`, with none handed in, where there is no scheduler."""
        batch = cls([], asyncio.Event())
        try:
            for request in requests:
                batch.generations.append(engine.submit(request, batch._news))
        except BaseException:
            batch.close()
            raise
        return batch

    async def accepted(self) -> None:
        """Wait until all are admitted. Raises the `RequestError` one was refused with, or `ClientLeft`."""
        for generation in self.generations:
            await generation.accepted()

    async def news(self) -> None:
        """Wait until a generation has tokens that were not read, or a problem."""
        while not any(generation.has_news for generation in self.generations):
            self._news.clear()
            await self._news.wait()

    def close(self) -> None:
        for generation in self.generations:
            generation.close()

    def client_left(self) -> None:
        for generation in self.generations:
            generation.client_left()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
