"""OpenAI's response bodies and stream chunks, field by field."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, Self

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from engine.config import ServerArgs
from engine.gateway.logprobs import ChatLogprobs, TextLogprobs
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


TokenIds = list[int] | UnsetType


class TextChoice(msgspec.Struct):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: FinishReason | None
    token_ids: TokenIds = UNSET
    prompt_token_ids: TokenIds = UNSET


class CalledFunction(msgspec.Struct):
    name: str
    arguments: str


class ToolCall(msgspec.Struct):
    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class ChatMessage(msgspec.Struct):
    """`content` is null where the whole answer is tool calls."""

    role: Literal["assistant"]
    content: str | None
    tool_calls: list[ToolCall] | UnsetType = UNSET


class ChatFinishReason(StrEnum):
    """Why an answer in a chat ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"


class ChatChoice(msgspec.Struct):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: ChatFinishReason | None
    token_ids: TokenIds = UNSET


class FunctionDelta(msgspec.Struct):
    """The first delta of a call has the name, all have a part of the arguments."""

    arguments: str
    name: str | UnsetType = UNSET


class ToolCallDelta(msgspec.Struct):
    index: int
    function: FunctionDelta
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class ChatDelta(msgspec.Struct):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET


class ChatDeltaChoice(msgspec.Struct):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: ChatFinishReason | None
    token_ids: TokenIds = UNSET


class _Body(msgspec.Struct):
    """A whole answer or a chunk of one. Where usage was asked for in a stream, every chunk but the last has null."""

    id: str
    object: str
    created: int
    model: str


class TextBody(_Body):
    """An answer of /v1/completions, whole or a chunk."""

    choices: list[TextChoice]
    usage: Usage | UnsetType | None = UNSET


class ChatBody(_Body):
    """A whole answer of /v1/chat/completions."""

    choices: list[ChatChoice]
    usage: Usage
    prompt_token_ids: TokenIds = UNSET


class ChatChunk(_Body):
    """A chunk of an answer of /v1/chat/completions."""

    choices: list[ChatDeltaChoice]
    usage: Usage | UnsetType | None = UNSET
    prompt_token_ids: TokenIds = UNSET


Body = TextBody | ChatBody | ChatChunk


class ModelCard(msgspec.Struct):
    id: str
    created: int
    max_model_len: int | None
    object: Literal["model"] = "model"
    owned_by: str = "semi-pd"


class ModelList(msgspec.Struct):
    data: list[ModelCard]
    object: Literal["list"] = "list"


class Health(msgspec.Struct):
    """`reason`: why it is not ready, in a sentence."""

    status: Literal["ready", "not ready"]
    waiting: int
    running: int
    free_pages: int
    total_pages: int
    reason: str = ""


class Liveness(msgspec.Struct):
    status: Literal["alive"] = "alive"


class Version(msgspec.Struct):
    version: str


class ServerInfo(msgspec.Struct):
    """Settings that every client may see; the split is the one asked for at start."""

    version: str
    model: str
    max_model_len: int
    device: str
    dtype: str
    mode: str
    splitter: str | None
    prefill_sm_percentage: int
    decode_sm_percentage: int
    page_size: int
    prefix_caching: bool
    prefill_token_budget: int | None
    max_running_requests: int | None
    max_queued_requests: int
    max_queue_seconds: float | None
    max_body_bytes: int
    gateway_workers: int

    @classmethod
    def of(cls, settings: ServerArgs, version: str, max_model_len: int) -> Self:
        shown = {name: getattr(settings, name) for name in cls.__struct_fields__ if hasattr(settings, name)}
        return cls(**{**shown, "version": version, "model": settings.model_name, "max_model_len": max_model_len})


class Tokenized(msgspec.Struct):
    """`token_strs` is null as in vLLM where it was not asked for."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class Detokenized(msgspec.Struct):
    prompt: str


def usage(prompt_tokens: int, completion_tokens: int) -> Usage:
    return Usage(prompt_tokens, completion_tokens, prompt_tokens + completion_tokens)
