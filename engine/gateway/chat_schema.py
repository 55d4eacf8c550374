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
_ToolChoiceSchema = WithJsonSchema({"type": "string", "enum": ["none", "auto"]})


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
    def _model_chooses(cls, choice: Any) -> Any:
        if choice == "required" or isinstance(choice, dict):
            raise ValueError("a call cannot be enforced here, only 'auto' and 'none' are served")
        if choice not in ("auto", "none"):
            raise ValueError("it must be 'auto' or 'none'")
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
