"""What dresses an answer for the client: one kind for each generation endpoint."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import msgspec
from msgspec import UNSET, UnsetType

from engine.gateway.answer import Delta
from engine.gateway.responses import Body, TokenIds, Usage
from engine.gateway.tokenizer import TextTokenizer


class Style(msgspec.Struct, frozen=True):
    """What a client asked to see beside the text. `n`: choices a prompt."""

    tokenizer: TextTokenizer
    prompts: list[list[int]]
    n: int
    include_usage: bool
    shows_ids: bool
    shows_logprobs: bool

    @property
    def tells_every_token(self) -> bool:
        """True if a token is told of even where it completes no text."""
        return self.shows_ids or self.shows_logprobs

    @property
    def usage_before_the_end(self) -> UnsetType | None:
        return None if self.include_usage else UNSET

    def token_ids(self, delta: Delta) -> TokenIds:
        return delta.token_ids if self.shows_ids else UNSET

    def prompt_token_ids(self, choice: int = 0) -> TokenIds:
        return self.prompts[choice // self.n] if self.shows_ids else UNSET


class Head(msgspec.Struct, frozen=True):
    """What all chunks of an answer have in common."""

    id: str
    model: str
    created: int

    @classmethod
    def new(cls, prefix: str, request_id: int, model: str) -> Head:
        return cls(f"{prefix}-{answer_id(request_id)}", model, int(time.time()))


def answer_id(request_id: int) -> str:
    """As clients are shown it, after `cmpl-` or `chatcmpl-`, and as logs say it."""
    return f"{request_id:016x}"


class Replies(Protocol):
    """How one endpoint dresses the choices of one request."""

    def whole(self, answers: Sequence[Delta], used: Usage) -> Body:
        """The answers in the order of their choices."""
        ...

    def chunk(self, delta: Delta) -> Body | None:
        """None where there is nothing to tell yet."""
        ...

    def usage_chunk(self, used: Usage) -> Body: ...
