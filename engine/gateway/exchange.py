"""Answers one accepted request, whole or as a stream. Knows nothing of how it was admitted."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence

from engine.errors import RequestError
from engine.gateway import sse
from engine.gateway.answer import Choice, Delta, deltas
from engine.gateway.batch import Batch
from engine.gateway.errors import error_body
from engine.gateway.generation import ClientLeft
from engine.gateway.metrics import Observation
from engine.gateway.replies import Replies
from engine.gateway.responses import Body, Usage, usage

log = logging.getLogger(__name__)


class Exchange:
    """The choices of a request and the form the client wants them in; an observation for each choice."""

    def __init__(
        self,
        batch: Batch,
        choices: Sequence[Choice],
        replies: Replies,
        observations: Sequence[Observation],
        prompt_tokens: int,
    ):
        self._batch = batch
        self._choices = choices
        self._replies = replies
        self._observations = observations
        self._prompt_tokens = prompt_tokens

    async def whole(self) -> Body:
        """The body of an answer that is not streamed. Raises `RequestError` or `ClientLeft`."""
        heard: list[list[Delta]] = [[] for _ in self._choices]
        async for delta in self._deltas():
            heard[delta.choice].append(delta)
        return self._replies.whole([Delta.joined(answer) for answer in heard], self._usage)

    async def stream(self, out: sse.EventStream, include_usage: bool) -> None:
        """Send the answer as it comes. An engine's failure ends the stream with an error event. Raises `ClientLeft`."""
        await out.open()
        try:
            async for delta in self._deltas():
                chunk = self._replies.chunk(delta)
                if chunk is not None:
                    await out.write(sse.event(chunk))
        except RequestError as error:
            log.warning("A stream ended with an error: %s", error.message)
            await out.close(sse.event(error_body(error)))
        else:
            await out.close((sse.event(self._replies.usage_chunk(self._usage)) if include_usage else b"") + sse.DONE)

    async def _deltas(self) -> AsyncIterator[Delta]:
        """Observed: when one is asked for, the one before has been sent."""
        try:
            async for delta in deltas(self._batch, self._choices):
                yield delta
                observation = self._observations[delta.choice]
                observation.sent(delta.tokens)
                if delta.finish_reason is not None:
                    observation.finished(str(delta.finish_reason))
        except ClientLeft:
            self._give_up("abort")
            raise
        except RequestError:
            self._give_up("error")
            raise

    def _give_up(self, reason: str) -> None:
        for choice, observation in zip(self._choices, self._observations, strict=True):
            if not choice.is_complete:
                observation.finished(reason)

    @property
    def _usage(self) -> Usage:
        return usage(self._prompt_tokens, sum(choice.text.token_count for choice in self._choices))
