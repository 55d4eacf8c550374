"""OpenAI's response bodies and stream chunks, field by field."""

from __future__ import annotations

import time
from typing import Any, Literal, Protocol

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from engine.gateway.answer import Delta
from engine.request import FinishReason


class JSON(Response):
    """A JSON body made of structs."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


class ErrorDetail(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct):
    error: ErrorDetail


class Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TextChoice(msgspec.Struct):
    index: int
    text: str
    logprobs: None
    finish_reason: FinishReason | None


class ChatMessage(msgspec.Struct):
    role: str
    content: str


class ChatChoice(msgspec.Struct):
    index: int
    message: ChatMessage
    logprobs: None
    finish_reason: FinishReason | None


class ChatDelta(msgspec.Struct, omit_defaults=True):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChatDeltaChoice(msgspec.Struct):
    index: int
    delta: ChatDelta
    logprobs: None
    finish_reason: FinishReason | None


class Body(msgspec.Struct):
    """A whole answer or a chunk of one. Where usage was asked for in a stream, every chunk but the last has null."""

    id: str
    object: str
    created: int
    model: str
    choices: list[TextChoice] | list[ChatChoice] | list[ChatDeltaChoice]
    usage: Usage | UnsetType | None = UNSET


class ModelCard(msgspec.Struct):
    id: str
    created: int
    max_model_len: int | None
    object: Literal["model"] = "model"
    owned_by: str = "semi-pd"


class ModelList(msgspec.Struct):
    data: list[ModelCard]
    object: Literal["list"] = "list"


def usage(prompt_tokens: int, completion_tokens: int) -> Usage:
    return Usage(prompt_tokens, completion_tokens, prompt_tokens + completion_tokens)


class Replies(Protocol):
    """How one endpoint dresses an answer."""

    def __init__(self, request_id: int, model: str, include_usage: bool): ...

    def whole(self, text: str, reason: FinishReason | None, used: Usage) -> Body: ...

    def chunk(self, delta: Delta, is_first: bool) -> Body: ...

    def usage_chunk(self, used: Usage) -> Body: ...


class TextReplies:
    """/v1/completions."""

    def __init__(self, request_id: int, model: str, include_usage: bool):
        self._head = (f"cmpl-{request_id:016x}", "text_completion", int(time.time()), model)
        self._no_usage = None if include_usage else UNSET

    def whole(self, text: str, reason: FinishReason | None, used: Usage) -> Body:
        return Body(*self._head, [TextChoice(0, text, None, reason)], used)

    def chunk(self, delta: Delta, is_first: bool) -> Body:
        return Body(*self._head, [TextChoice(0, delta.text, None, delta.finish_reason)], self._no_usage)

    def usage_chunk(self, used: Usage) -> Body:
        return Body(*self._head, [], used)


class ChatReplies:
    """/v1/chat/completions. The role comes with the first token, never before: clients take it for one."""

    def __init__(self, request_id: int, model: str, include_usage: bool):
        self._id, self._model, self._created = f"chatcmpl-{request_id:016x}", model, int(time.time())
        self._chunk_head = (self._id, "chat.completion.chunk", self._created, model)
        self._no_usage = None if include_usage else UNSET

    def whole(self, text: str, reason: FinishReason | None, used: Usage) -> Body:
        choice = ChatChoice(0, ChatMessage("assistant", text), None, reason)
        return Body(self._id, "chat.completion", self._created, self._model, [choice], used)

    def chunk(self, delta: Delta, is_first: bool) -> Body:
        content = delta.text if delta.text or is_first else UNSET
        said = ChatDelta("assistant" if is_first else UNSET, content)
        return Body(*self._chunk_head, [ChatDeltaChoice(0, said, None, delta.finish_reason)], self._no_usage)

    def usage_chunk(self, used: Usage) -> Body:
        return Body(*self._chunk_head, [], used)
