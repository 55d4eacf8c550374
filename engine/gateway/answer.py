"""From an answer's tokens to the text a client sees, and when that text ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from engine.gateway.detokenizer import Detokenizer
from engine.gateway.generation import Generation
from engine.gateway.stop_strings import StopStrings
from engine.request import FinishReason
from engine.wire.to_scheduler import Token


class Delta(NamedTuple):
    """What arrived together: the text that may be shown now, how many tokens it took, and the reason if it ends."""

    text: str
    token_count: int
    finish_reason: FinishReason | None


class AnswerText:
    """Token by token to text; a stop string ends it before the engine does. Stop strings count after `min_tokens`."""

    def __init__(self, detokenizer: Detokenizer, stops: StopStrings, min_tokens: int = 0):
        self._detokenizer = detokenizer
        self._stops = stops
        self._min_tokens = min_tokens
        self.token_count = 0
        self.finish_reason: FinishReason | None = None

    def feed(self, token: Token) -> str:
        """The text that may be shown after this token. A stop token counts and has no text."""
        self.token_count += 1
        self.finish_reason = token.finish
        text = "" if token.finish is FinishReason.STOP else self._detokenizer.feed(token.token_id)
        if token.finish is not None:
            text += self._detokenizer.flush()
        if token.index >= self._min_tokens:
            text = self._stops.feed(text)
        if self._stops.is_found:
            self.finish_reason = FinishReason.STOP
        elif token.finish is not None:
            text += self._stops.flush()
        return text


async def deltas(generation: Generation, answer: AnswerText) -> AsyncIterator[Delta]:
    """One delta for all tokens that arrived since the last, so that a slow client costs less, not more."""
    while answer.finish_reason is None:
        before = answer.token_count
        text = ""
        for token in await generation.next_tokens():
            text += answer.feed(token)
            if answer.finish_reason is not None:
                generation.close()  # before the client hears of it: after a stop string the engine still computes
                break
        yield Delta(text, answer.token_count - before, answer.finish_reason)
