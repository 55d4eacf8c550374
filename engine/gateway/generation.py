"""One live request as the gateway sees it: its journal, and the tokens that wait to be sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

import msgspec

from engine.errors import EngineFailure, RequestError
from engine.request import FinishReason, Request
from engine.wire.to_scheduler import Token


class ClientLeft(Exception):
    """The client closed its connection; nobody waits for the answer."""


class Generation:
    """Fed by the engine client, read by one endpoint. Leaving it as a context cancels what is not finished."""

    def __init__(
        self,
        request: Request,
        forget: Callable[[int], None],
        cancel: Callable[[int], None],
        news: asyncio.Event | None = None,
    ):
        """`news` is set whenever there is something to read; several generations may share it."""
        self.request = request
        self.emitted_ids = list(request.emitted_ids)
        self._forget = forget
        self._cancel = cancel
        self._unread: list[Token] = []
        self._problem: RequestError | ClientLeft | None = None
        self._is_accepted = False
        self._is_over = False
        self._news = news or asyncio.Event()

    # ── read by the endpoint ────────────────────────────────────────────────────────────────────────────────────────

    async def accepted(self) -> None:
        """Wait until admission has said yes. Raises the `RequestError` it said no with, or `ClientLeft`."""
        while not self._is_accepted:
            await self._wait_for_news()

    async def next_tokens(self) -> list[Token]:
        """All tokens that came since the last call, at least one. Raises `RequestError` or `ClientLeft`."""
        while not self._unread:
            await self._wait_for_news()
        return self.unread_tokens()

    @property
    def is_accepted(self) -> bool:
        """True once admission has said yes: from then on only a cancel or its own end may end it."""
        return self._is_accepted

    @property
    def has_news(self) -> bool:
        """True if tokens, or the reason why no more will come, have not been read."""
        return bool(self._unread) or self._problem is not None

    def unread_tokens(self) -> list[Token]:
        """All tokens that came since the last call, if any. Raises `RequestError` or `ClientLeft` in their place."""
        if not self._unread and self._problem is not None:
            raise self._problem
        tokens, self._unread = self._unread, []
        return tokens

    @property
    def request_from_here(self) -> Request:
        """What to hand in so that another engine goes on after the tokens received so far."""
        return msgspec.structs.replace(self.request, emitted_ids=list(self.emitted_ids))

    def close(self) -> None:
        """No more tokens are wanted. Does nothing when the engine has finished."""
        if not self._is_over:
            self._end()
            self._cancel(self.request.request_id)

    def client_left(self) -> None:
        """Cancel at once, and tell the endpoint."""
        if not self._is_over:
            self.close()
            self._report(ClientLeft())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ── fed by the engine client ────────────────────────────────────────────────────────────────────────────────────

    def accept(self) -> None:
        self._is_accepted = True
        self._news.set()

    def take(self, token: Token) -> None:
        """Add a token; one that was taken before changes nothing."""
        if token.index < len(self.emitted_ids):
            return
        if token.index > len(self.emitted_ids) or token.finish is FinishReason.CANCELLED:
            self.close()
            self._report(EngineFailure("The engine lost a part of the answer."))
            return
        self.emitted_ids.append(token.token_id)
        self._unread.append(token)
        self._news.set()
        if token.finish is not None:
            self._end()

    def fail(self, error: RequestError) -> None:
        """The engine has given the request up: nothing is left to cancel."""
        self._end()
        self._report(error)

    def _report(self, problem: RequestError | ClientLeft) -> None:
        self._problem = problem
        self._news.set()

    def _end(self) -> None:
        self._is_over = True
        self._forget(self.request.request_id)

    async def _wait_for_news(self) -> None:
        if self._problem is not None:
            raise self._problem
        self._news.clear()
        await self._news.wait()
