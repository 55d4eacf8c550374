"""What clients may send to the two generation endpoints, with bounds. Fields not named here are ignored."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from engine.errors import InvalidRequest

MAX_STOPS = 16
MAX_STOP_LENGTH = 1024
_INT32_MAX = 2**31 - 1


class _Fields(BaseModel):
    """Strict: "5" is no number and 1 no truth value. A null is a field that was not given."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if value is not None}


class StreamOptions(_Fields):
    include_usage: bool = False


class GenerationRequest(_Fields):
    """What both endpoints understand."""

    model: str
    max_tokens: int | None = Field(None, ge=1, le=_INT32_MAX)
    min_tokens: int = Field(0, ge=0, le=_INT32_MAX)
    temperature: float | None = Field(None, ge=0.0, le=2.0)
    top_p: float | None = Field(None, gt=0.0, le=1.0)
    top_k: int | None = Field(None, ge=-1, le=_INT32_MAX)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: list[str] = []
    ignore_eos: bool = False
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    n: int = 1

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop_is_a_list_of_one(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

    @field_validator("stop")
    @classmethod
    def _stops_are_bounded(cls, stop: list[str]) -> list[str]:
        if len(stop) > MAX_STOPS:
            raise ValueError(f"at most {MAX_STOPS} stop strings are possible")
        if not all(0 < len(string) <= MAX_STOP_LENGTH for string in stop):
            raise ValueError(f"a stop string has from 1 to {MAX_STOP_LENGTH} characters")
        return stop

    @field_validator("n")
    @classmethod
    def _one_answer(cls, n: int) -> int:
        if n != 1:
            raise ValueError("it must be 1, several answers to one request are not served yet")
        return n

    @property
    def wanted_tokens(self) -> int | None:
        """Tokens to generate, where the client said how many."""
        return self.max_tokens


class CompletionRequest(GenerationRequest):
    """POST /v1/completions."""

    prompt: str | list[int]

    @field_validator("prompt", mode="before")
    @classmethod
    def _one_prompt(cls, prompt: Any) -> Any:
        if isinstance(prompt, str) or (isinstance(prompt, list) and all(type(item) is int for item in prompt)):
            return prompt
        raise ValueError("it must be one text or one list of token ids, several prompts are not served yet")


class Message(_Fields):
    """One turn of a conversation. Content in parts is joined by line breaks."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str = ""

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
    def for_template(self) -> dict[str, str]:
        """As chat templates expect it; they know the developer by its older name."""
        return {"role": "system" if self.role == "developer" else self.role, "content": self.content}


class ChatRequest(GenerationRequest):
    """POST /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1, le=_INT32_MAX)

    @property
    def wanted_tokens(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


R = TypeVar("R", bound=GenerationRequest)


def parse(schema: type[R], body: bytes) -> R:
    """The request in `body`. Raises `InvalidRequest` with a sentence that names the field."""
    try:
        return schema.model_validate(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The request body is not JSON: {error}.") from error
    except ValidationError as error:
        raise _invalid(error) from error


def _invalid(error: ValidationError) -> InvalidRequest:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    if not field:
        return InvalidRequest("The request body must be a JSON object.")
    return InvalidRequest(f"The field {field} is not valid: {reason[:1].lower()}{reason[1:]}.", param=field)
