"""Log-probabilities of tokens as OpenAI writes them; the two endpoints have different forms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from engine.gateway.detokenizer import Detokenizer
from engine.gateway.tokenizer import TextTokenizer
from engine.request import FinishReason
from engine.wire.to_scheduler import Token

_LEAST = -9999.0
"""Stands for minus infinity, which JSON cannot write."""


class TopLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]


class ChatLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class ChatLogprobs(msgspec.Struct):
    """`content`: one entry a token."""

    content: list[ChatLogprob]
    refusal: None = None


class TextLogprobs(msgspec.Struct):
    """Four lists with one entry a token. `text_offset`: where in the answer the token's text begins, in characters."""

    text_offset: list[int]
    token_logprobs: list[float]
    tokens: list[str]
    top_logprobs: list[dict[str, float]]


def chat_logprobs(tokenizer: TextTokenizer, tokens: Iterable[Token]) -> ChatLogprobs:
    """A token that is a part of a character has its own bytes, and U+FFFD as text."""

    def top(token_id: int, logprob: float) -> TopLogprob:
        raw = tokenizer.written_out(token_id)
        return TopLogprob(raw.decode(errors="replace"), max(logprob, _LEAST), list(raw))

    def entry(token: Token) -> ChatLogprob:
        own = top(token.token_id, _own(token))
        return ChatLogprob(own.token, own.logprob, own.bytes, [top(*likely) for likely in token.top_logprobs])

    return ChatLogprobs([entry(token) for token in tokens if _has_text(token)])


class TextLogprobsWriter:
    """The log-probabilities of one text answer, chunk after chunk."""

    def __init__(self, tokenizer: TextTokenizer):
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer.pieces)
        self._offset = 0

    def write(self, tokens: Sequence[Token]) -> TextLogprobs:
        """A token that is a part of a character is written as `bytes:\\xNN`, so that each has a name of its own."""
        written = TextLogprobs([], [], [], [])
        for token in filter(_has_text, tokens):
            name = self._name(token.token_id)
            written.text_offset.append(self._offset)
            written.token_logprobs.append(_own(token))
            written.tokens.append(name)
            likely: dict[str, float] = {}
            for token_id, logprob in token.top_logprobs:
                likely.setdefault(self._name(token_id), max(logprob, _LEAST))
            written.top_logprobs.append({name: _own(token)} | likely)
            self._offset += len(self._detokenizer.feed(token.token_id))
        return written

    def _name(self, token_id: int) -> str:
        raw = self._tokenizer.written_out(token_id)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def _own(token: Token) -> float:
    return _LEAST if token.logprob is None else max(token.logprob, _LEAST)


def _has_text(token: Token) -> bool:
    """The token that ends an answer is no part of it."""
    return token.finish is not FinishReason.STOP
