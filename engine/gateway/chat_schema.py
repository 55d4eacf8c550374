"""What clients may send to /v1/chat/completions: the conversation, and tools the model may call."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from engine.gateway.generation_schema import MAX_TOP_LOGPROBS, GenerationRequest
from engine.gateway.schema import INT32_MAX, Fields

MAX_TOOLS = 128
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_TEXT_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
_Content = Annotated[str, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": _TEXT_PART}]})]
_ToolSchema = WithJsonSchema(
    {
        "type": "array",
        "maxItems": MAX_TOOLS,
        "items": {
            "type": "object",
            "properties": {
                "type": {"const": "function"},
                "function": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string", "pattern": f"^{_TOOL_NAME.pattern}$"},
                        "description": {"type": "string"},
                        "parameters": {"type": "object"},
                    },
                    "required": ["name"],
                },
            },
            "required": ["type", "function"],
        },
    }
)


def _checked(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(tools) > MAX_TOOLS:
        raise ValueError(f"at most {MAX_TOOLS} tools are possible")
    for tool in tools:
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict):
            raise ValueError("a tool must have the type 'function' and a function")
        name, description = function.get("name"), function.get("description")
        if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
            raise ValueError("a function's name has from 1 to 64 letters, digits, dots, dashes or underscores")
        if not isinstance(description, str | None) or not isinstance(function.get("parameters"), dict | None):
            raise ValueError("a function's description must be a text and its parameters a JSON schema")
    return tools


Tools = Annotated[list[dict[str, Any]], _ToolSchema, AfterValidator(_checked)]
"""As they were sent: the template writes them into the prompt."""
_NamedTool = {
    "type": "object",
    "properties": {
        "type": {"const": "function"},
        "function": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
    "required": ["type", "function"],
}
_ToolChoiceSchema = WithJsonSchema({"anyOf": [{"type": "string", "enum": ["none", "auto", "required"]}, _NamedTool]})
_NAMED = "function "
"""Stands before the name of a function that must be called."""


class EarlierFunction(Fields):
    """`arguments` is a JSON object written as text; templates are given the object."""

    name: str
    arguments: Annotated[dict[str, Any], WithJsonSchema({"type": "string"})] = {}

    @field_validator("arguments", mode="before")
    @classmethod
    def _read(cls, arguments: Any) -> Any:
        if not isinstance(arguments, str):
            return arguments
        try:
            return msgspec.json.decode(arguments or "{}", type=dict)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError("it must be a JSON object written as text") from error


class EarlierCall(Fields):
    """A call the assistant made in an earlier turn."""

    id: str = ""
    type: Literal["function"] = "function"
    function: EarlierFunction


class Message(Fields):
    """One turn of a conversation. Content in parts is joined by line breaks."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: _Content = ""
    name: str | None = None
    tool_calls: list[EarlierCall] = Field([], max_length=MAX_TOOLS)
    tool_call_id: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _text_of_parts(cls, content: Any) -> Any:
        if not isinstance(content, list):
            return content
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in content):
            raise ValueError("only parts of type text are served")
        texts = [part.get("text") for part in content]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a part of type text must have a text")
        return "\n".join(texts)

    @property
    def for_template(self) -> dict[str, Any]:
        """As chat templates expect it: they know the developer by its older name, and ask which keys are there."""
        turn: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role, "content": self.content}
        if self.name is not None:
            turn["name"] = self.name
        if self.tool_calls:
            turn["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        if self.tool_call_id is not None:
            turn["tool_call_id"] = self.tool_call_id
        return turn


class ChatRequest(GenerationRequest):
    """POST /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1, le=INT32_MAX)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=MAX_TOP_LOGPROBS)
    tools: Tools = []
    tool_choice: Annotated[str, _ToolChoiceSchema] = "auto"
    parallel_tool_calls: bool = True
    chat_template_kwargs: dict[str, Any] = {}

    @field_validator("top_logprobs")
    @classmethod
    def _top_logprobs_need_logprobs(cls, count: int, info: ValidationInfo) -> int:
        if count and not info.data.get("logprobs"):
            raise ValueError("logprobs must be true where top_logprobs is given")
        return count

    @field_validator("tool_choice", mode="before")
    @classmethod
    def _choice_is_known(cls, choice: Any) -> Any:
        if choice in ("auto", "none", "required"):
            return choice
        function = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ValueError("it must be 'auto', 'none', 'required' or name a function")
        return _NAMED + function["name"]

    @field_validator("tool_choice")
    @classmethod
    def _choice_is_offered(cls, choice: str, info: ValidationInfo) -> str:
        names = [tool["function"]["name"] for tool in info.data.get("tools", [])]
        if choice == "required" and not names:
            raise ValueError("a call is required and there are no tools")
        if choice.startswith(_NAMED) and choice.removeprefix(_NAMED) not in names:
            raise ValueError(f"there is no tool named {choice.removeprefix(_NAMED)!r}")
        return choice

    @property
    def wanted_tokens(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def wanted_logprobs(self) -> int | None:
        return self.top_logprobs if self.logprobs else None

    @property
    def offered_tools(self) -> list[dict[str, Any]]:
        """The tools that the model may call."""
        return [] if self.tool_choice == "none" else self.tools

    @property
    def demanded_tools(self) -> list[dict[str, Any]]:
        """Those of which it must call one; none where it is free to."""
        if self.tool_choice == "required":
            return self.tools
        return [tool for tool in self.tools if _NAMED + tool["function"]["name"] == self.tool_choice]
