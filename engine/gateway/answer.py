"""From an answer's tokens to the text a client sees, and when that text ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple, Self

from engine.gateway.batch import Batch
from engine.gateway.detokenizer import Detokenizer
from engine.gateway.generation import Generation
from engine.gateway.stop_strings import StopStrings
from engine.request import FinishReason
from engine.wire.to_scheduler import Token


class Delta(NamedTuple):
    """What arrived together for one choice: text that may be shown now, the tokens it took, the reason if it ends."""

    choice: int
    text: str
    tokens: list[Token]
    finish_reason: FinishReason | None

    @classmethod
    def joined(cls, deltas: Sequence[Self]) -> Self:
        """All deltas of one choice as one."""
        tokens = [token for delta in deltas for token in delta.tokens]
        return cls(deltas[0].choice, "".join(delta.text for delta in deltas), tokens, deltas[-1].finish_reason)

    @property
    def token_ids(self) -> list[int]:
        return [token.token_id for token in self.tokens]


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


class Choice:
    """One answer of a request: its generation, and the text that it becomes."""

    def __init__(self, index: int, generation: Generation, text: AnswerText):
        self.index = index
        self.generation = generation
        self.text = text

    @property
    def is_complete(self) -> bool:
        return self.text.finish_reason is not None

    def read(self) -> Delta | None:
        """One delta for all tokens that came since the last, if any. Raises `RequestError` or `ClientLeft`."""
        shown, read = "", list[Token]()
        for token in self.generation.unread_tokens():
            shown += self.text.feed(token)
            read.append(token)
            if self.is_complete:
                self.generation.close()  # before the client hears of it: after a stop string the engine still computes
                break
        return Delta(self.index, shown, read, self.text.finish_reason) if read else None


async def deltas(batch: Batch, choices: Iterable[Choice]) -> AsyncIterator[Delta]:
    """The deltas of all choices as they come. What comes while one is being sent is one delta a choice: a slow
    client costs less, not more.
    """
    open_choices = list(choices)
    while open_choices:
        await batch.news()
        for choice in open_choices:
            delta = choice.read()
            if delta is not None:
                yield delta
        open_choices = [choice for choice in open_choices if not choice.is_complete]
