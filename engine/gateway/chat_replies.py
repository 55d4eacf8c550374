"""Answers of /v1/chat/completions."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from msgspec import UNSET

from engine.gateway.answer import Delta
from engine.gateway.logprobs import ChatLogprobs, chat_logprobs
from engine.gateway.replies import Head, Style
from engine.gateway.responses import (
    CalledFunction,
    ChatBody,
    ChatChoice,
    ChatChunk,
    ChatDelta,
    ChatDeltaChoice,
    ChatFinishReason,
    ChatMessage,
    FunctionDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from engine.gateway.tool_calls import CallArguments, CallBegun, Content, Said, ToolCallParser
from engine.request import FinishReason


class ChatReplies:
    """The role comes with a choice's first token, never before: clients take it for one.

    `new_parser` makes the parser of one choice, None where the model was given no tools.
    """

    def __init__(self, request_id: int, model: str, style: Style, new_parser: Callable[[], ToolCallParser] | None):
        self._head = Head.new("chatcmpl", request_id, model)
        self._style = style
        self._new_parser = new_parser
        self._speakers: dict[int, _Speaker] = {}

    def whole(self, answers: Sequence[Delta], used: Usage) -> ChatBody:
        head, choices = self._head, [self._whole_choice(answer) for answer in answers]
        prompt_ids = self._style.prompt_token_ids()
        return ChatBody(head.id, "chat.completion", head.created, head.model, choices, used, prompt_ids)

    def chunk(self, delta: Delta) -> ChatChunk | None:
        style = self._style
        is_first = not self._speakers
        speaker = self._speaker(delta.choice)
        said = speaker.speak(delta)
        if said is None and not (delta.finish_reason or style.tells_every_token):
            return None
        choice = ChatDeltaChoice(
            delta.choice,
            said or ChatDelta(),
            self._logprobs(delta),
            speaker.reason(delta.finish_reason),
            style.token_ids(delta),
        )
        prompt_ids = style.prompt_token_ids() if is_first else UNSET
        return self._chunk([choice], style.usage_before_the_end, prompt_ids)

    def usage_chunk(self, used: Usage) -> ChatChunk:
        return self._chunk([], used)

    def _chunk(self, choices: list[ChatDeltaChoice], *rest) -> ChatChunk:
        head = self._head
        return ChatChunk(head.id, "chat.completion.chunk", head.created, head.model, choices, *rest)

    def _whole_choice(self, answer: Delta) -> ChatChoice:
        speaker = self._speaker(answer.choice)
        content, calls = _whole(speaker.said(answer))
        message = ChatMessage("assistant", None if calls and not content else content, calls or UNSET)
        reason = speaker.reason(answer.finish_reason)
        return ChatChoice(answer.choice, message, self._logprobs(answer), reason, self._style.token_ids(answer))

    def _speaker(self, choice: int) -> _Speaker:
        if choice not in self._speakers:
            self._speakers[choice] = _Speaker(self._new_parser() if self._new_parser else None)
        return self._speakers[choice]

    def _logprobs(self, delta: Delta) -> ChatLogprobs | None:
        style = self._style
        return chat_logprobs(style.tokenizer, delta.tokens) if style.shows_logprobs else None


class _Speaker:
    """One choice: what of it is content, and what calls."""

    def __init__(self, parser: ToolCallParser | None):
        self._parser = parser
        self._is_first = True
        self._has_called = False

    def said(self, delta: Delta) -> list[Said]:
        if self._parser is None:
            return [Content(delta.text)] if delta.text else []
        said = self._parser.feed(delta.text) + (self._parser.flush() if delta.finish_reason else [])
        self._has_called |= any(isinstance(item, CallBegun) for item in said)
        return said

    def speak(self, delta: Delta) -> ChatDelta | None:
        """The chunk's delta; None where nothing can be told yet."""
        said = self.said(delta)
        content = "".join(item.text for item in said if isinstance(item, Content))
        calls = _call_deltas(said)
        is_first, self._is_first = self._is_first, False
        if not (is_first or content or calls):
            return None
        return ChatDelta(
            role="assistant" if is_first else UNSET,
            content=content if content or (is_first and not calls) else UNSET,
            tool_calls=calls or UNSET,
        )

    def reason(self, reason: FinishReason | None) -> ChatFinishReason | None:
        if reason is None:
            return None
        has_called = self._has_called and reason is FinishReason.STOP
        return ChatFinishReason.TOOL_CALLS if has_called else ChatFinishReason(reason)


def _call_deltas(said: Sequence[Said]) -> list[ToolCallDelta]:
    deltas = list[ToolCallDelta]()
    for item in said:
        if isinstance(item, CallBegun):
            begun = FunctionDelta(name=item.name, arguments="")
            deltas.append(ToolCallDelta(item.call, begun, _call_id(), "function"))
        elif isinstance(item, CallArguments) and deltas and deltas[-1].index == item.call:
            deltas[-1].function.arguments += item.text
        elif isinstance(item, CallArguments):
            deltas.append(ToolCallDelta(item.call, FunctionDelta(item.text)))
    return deltas


def _whole(said: Sequence[Said]) -> tuple[str, list[ToolCall]]:
    content, calls = "", list[ToolCall]()
    for item in said:
        match item:
            case Content(text):
                content += text
            case CallBegun(_, name):
                calls.append(ToolCall(_call_id(), CalledFunction(name, "")))
            case CallArguments(call, text):
                calls[call].function.arguments += text
    return content, calls


def _call_id() -> str:
    return f"call_{secrets.token_hex(12)}"
