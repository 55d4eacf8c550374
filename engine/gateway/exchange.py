"""Answers one accepted request, whole or as a stream. Knows nothing of how it was admitted."""

from __future__ import annotations

from collections.abc import AsyncIterator

from engine.errors import RequestError
from engine.gateway import sse
from engine.gateway.answer import AnswerText, Delta, deltas
from engine.gateway.errors import error_body
from engine.gateway.generation import ClientLeft, Generation
from engine.gateway.metrics import Observation
from engine.gateway.responses import Body, Replies, Usage, usage


class Exchange:
    """A generation, the text it becomes, and the form the client wants it in."""

    def __init__(self, generation: Generation, answer: AnswerText, replies: Replies, observation: Observation):
        self._generation = generation
        self._answer = answer
        self._replies = replies
        self._observation = observation

    async def whole(self) -> Body:
        """The body of an answer that is not streamed. Raises `RequestError` or `ClientLeft`."""
        text = "".join([delta.text async for delta in self._deltas()])
        return self._replies.whole(text, self._answer.finish_reason, self._usage)

    async def stream(self, out: sse.EventStream, include_usage: bool) -> None:
        """Send the answer as it comes. An engine's failure ends the stream with an error event. Raises `ClientLeft`."""
        await out.open()
        try:
            async for chunk in self._chunks():
                await out.write(sse.event(chunk))
        except RequestError as error:
            await out.close(sse.event(error_body(error)))
        else:
            await out.close((sse.event(self._replies.usage_chunk(self._usage)) if include_usage else b"") + sse.DONE)

    async def _chunks(self) -> AsyncIterator[Body]:
        """A chunk a delta; tokens that complete no text are silent, but for the first, which carries the role."""
        is_first = True
        async for delta in self._deltas():
            if is_first or delta.text or delta.finish_reason:
                yield self._replies.chunk(delta, is_first)
            is_first = False

    async def _deltas(self) -> AsyncIterator[Delta]:
        """Observed: when one is asked for, the one before has been sent."""
        try:
            async for delta in deltas(self._generation, self._answer):
                yield delta
                self._observation.sent(delta.token_count)
        except ClientLeft:
            self._observation.finished("abort")
            raise
        except RequestError:
            self._observation.finished("error")
            raise
        self._observation.finished(str(self._answer.finish_reason))

    @property
    def _usage(self) -> Usage:
        return usage(len(self._generation.request.prompt_ids), self._answer.token_count)
