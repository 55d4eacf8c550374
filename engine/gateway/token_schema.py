"""What clients may send to /tokenize and /detokenize; the fields are vLLM's."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from engine.gateway.chat_schema import Message, Tools
from engine.gateway.schema import INT32_MAX, Fields


class TokenizeRequest(Fields):
    """POST /tokenize: a `prompt`, or `messages` as in a chat. `add_special_tokens` holds for a prompt."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] = Field([], validate_default=True)
    add_special_tokens: bool = True
    add_generation_prompt: bool = True
    return_token_strs: bool = False
    tools: Tools = []
    chat_template_kwargs: dict[str, Any] = {}

    @field_validator("messages")
    @classmethod
    def _one_of_both(cls, messages: list[Message], info: ValidationInfo) -> list[Message]:
        if bool(messages) == (info.data.get("prompt") is not None):
            raise ValueError("either a prompt or messages are needed")
        return messages


class DetokenizeRequest(Fields):
    """POST /detokenize."""

    model: str | None = None
    tokens: list[Annotated[int, Field(ge=0, le=INT32_MAX)]]
