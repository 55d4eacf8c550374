"""Answers of /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from engine.gateway.answer import Delta
from engine.gateway.logprobs import TextLogprobsWriter
from engine.gateway.replies import Head, Style
from engine.gateway.responses import TextBody, TextChoice, Usage

_OBJECT = "text_completion"


class TextReplies:
    """A chunk is told if it has text, ends the choice, or is its first."""

    def __init__(self, request_id: int, model: str, style: Style):
        head = Head.new("cmpl", request_id, model)
        self._head = (head.id, _OBJECT, head.created, head.model)
        self._style = style
        self._begun: set[int] = set()
        self._logprobs: dict[int, TextLogprobsWriter] = {}

    def whole(self, answers: Sequence[Delta], used: Usage) -> TextBody:
        return TextBody(*self._head, [self._choice(answer) for answer in answers], used)

    def chunk(self, delta: Delta) -> TextBody | None:
        is_told = delta.text or delta.finish_reason or delta.choice not in self._begun or self._style.tells_every_token
        if not is_told:
            return None
        return TextBody(*self._head, [self._choice(delta)], self._style.usage_before_the_end)

    def usage_chunk(self, used: Usage) -> TextBody:
        return TextBody(*self._head, [], used)

    def _choice(self, delta: Delta) -> TextChoice:
        index, style, logprobs = delta.choice, self._style, None
        prompt_ids = UNSET if index in self._begun else style.prompt_token_ids(index)
        self._begun.add(index)
        if style.shows_logprobs:
            writer = self._logprobs.setdefault(index, TextLogprobsWriter(style.tokenizer))
            logprobs = writer.write(delta.tokens)
        return TextChoice(index, delta.text, logprobs, delta.finish_reason, style.token_ids(delta), prompt_ids)
