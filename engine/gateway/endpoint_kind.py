"""What sets the two generation endpoints apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import Generic

from engine.gateway.chat_replies import ChatReplies
from engine.gateway.chat_schema import ChatRequest
from engine.gateway.gateway import Gateway
from engine.gateway.generation_schema import CompletionRequest, G
from engine.gateway.prompt import chat_prompt, text_prompts
from engine.gateway.replies import Replies, Style
from engine.gateway.served_model import ServedModel
from engine.gateway.text_replies import TextReplies
from engine.gateway.tool_calls import LlamaParser


class Kind(ABC, Generic[G]):
    """`default_max_tokens` None: as many as fit."""

    schema: type[G]
    default_max_tokens: int | None = None

    @abstractmethod
    async def prompts(self, asked: G, gateway: Gateway) -> list[list[int]]:
        """Token ids of each prompt. Raises `RequestError`."""

    @abstractmethod
    def replies(self, asked: G, request_id: int, model: ServedModel, style: Style) -> Replies:
        """What dresses the answers."""

    def pieces(self, asked: G, model: ServedModel) -> list[bytes]:
        """The bytes that each token stands for in an answer."""
        return model.tokenizer.pieces


class TextKind(Kind[CompletionRequest]):
    """/v1/completions."""

    schema = CompletionRequest
    default_max_tokens = 16

    async def prompts(self, asked: CompletionRequest, gateway: Gateway) -> list[list[int]]:
        return await text_prompts(asked, gateway.model)

    def replies(self, asked: CompletionRequest, request_id: int, model: ServedModel, style: Style) -> Replies:
        return TextReplies(request_id, model.name, style)


class ChatKind(Kind[ChatRequest]):
    """/v1/chat/completions. Tool calls are looked for only where tools were offered."""

    schema = ChatRequest

    async def prompts(self, asked: ChatRequest, gateway: Gateway) -> list[list[int]]:
        return [await chat_prompt(asked, gateway.model, gateway.renderer)]

    def replies(self, asked: ChatRequest, request_id: int, model: ServedModel, style: Style) -> Replies:
        if not asked.offered_tools:
            return ChatReplies(request_id, model.name, style, None)
        if asked.demanded_tools:
            return ChatReplies(request_id, model.name, style, partial(LlamaParser, 1))  # as `call_schema` has it
        assert model.tool_parser is not None  # else there is no prompt
        most_calls = None if asked.parallel_tool_calls else 1
        return ChatReplies(request_id, model.name, style, partial(model.tool_parser, most_calls))

    def pieces(self, asked: ChatRequest, model: ServedModel) -> list[bytes]:
        return model.pieces_with_calls if asked.offered_tools else model.tokenizer.pieces
