"""What clients may ask of both generation endpoints, and of /v1/completions alone."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from engine.gateway.schema import INT32_MAX, INT32_MIN, Fields
from engine.grammar.schema import ANY_OBJECT

MAX_STOPS = 16
MAX_STOP_LENGTH = 1024
MAX_STOP_TOKEN_IDS = 128
MAX_BIASES = 1024
MAX_TOP_LOGPROBS = 20
MAX_CHOICES = 128
"""Answers to one request: prompts times `n`."""

_TOKEN_ID = re.compile("[0-9]{1,9}")
_StopSchema = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string", "minLength": 1, "maxLength": MAX_STOP_LENGTH},
            {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": MAX_STOP_LENGTH},
                "maxItems": MAX_STOPS,
            },
        ]
    }
)
_BiasSchema = WithJsonSchema(
    {
        "type": "object",
        "propertyNames": {"pattern": f"^{_TOKEN_ID.pattern}$"},
        "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
        "maxProperties": MAX_BIASES,
    }
)


class StreamOptions(Fields):
    include_usage: bool = False


class NamedSchema(Fields):
    """`strict` is not asked for: a schema is always kept to."""

    name: str = ""
    definition: dict[str, Any] = Field(ANY_OBJECT, alias="schema")
    strict: bool = True


class ResponseFormat(Fields):
    """What the answer's text is to be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _schema_is_there(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("the type json_schema needs the field json_schema")
        return self

    @property
    def wanted_schema(self) -> dict[str, Any] | None:
        """The JSON schema that the text is to be valid by, None where it is free."""
        if self.type == "json_object":
            return ANY_OBJECT
        return self.json_schema.definition if self.type == "json_schema" and self.json_schema else None


class GenerationRequest(Fields):
    """What both endpoints understand. `priority`: the lower, the sooner."""

    model: str
    max_tokens: int | None = Field(None, ge=1, le=INT32_MAX)
    min_tokens: int = Field(0, ge=0, le=INT32_MAX)
    temperature: float | None = Field(None, ge=0.0, le=2.0)
    top_p: float | None = Field(None, gt=0.0, le=1.0)
    top_k: int | None = Field(None, ge=-1, le=INT32_MAX)
    min_p: float | None = Field(None, ge=0.0, le=1.0)
    repetition_penalty: float | None = Field(None, ge=0.01, le=10.0)
    presence_penalty: float = Field(0.0, ge=-2.0, le=2.0)
    frequency_penalty: float = Field(0.0, ge=-2.0, le=2.0)
    logit_bias: Annotated[dict[int, float], _BiasSchema] = {}
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: Annotated[list[str], _StopSchema] = []
    stop_token_ids: list[Annotated[int, Field(ge=0, le=INT32_MAX)]] = Field([], max_length=MAX_STOP_TOKEN_IDS)
    ignore_eos: bool = False
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    best_of: int | None = None
    priority: int = Field(0, ge=INT32_MIN, le=INT32_MAX)
    response_format: ResponseFormat = ResponseFormat(type="text")
    return_token_ids: bool = False

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

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _biases_by_number(cls, biases: Any) -> Any:
        """JSON has no other keys than texts."""
        if not isinstance(biases, dict):
            return biases
        if len(biases) > MAX_BIASES:
            raise ValueError(f"at most {MAX_BIASES} tokens can have a bias")
        if not all(_TOKEN_ID.fullmatch(token_id) for token_id in biases):
            raise ValueError("its keys must be token ids")
        return {int(token_id): bias for token_id, bias in biases.items()}

    @field_validator("logit_bias")
    @classmethod
    def _biases_are_bounded(cls, biases: dict[int, float]) -> dict[int, float]:
        if not all(-100.0 <= bias <= 100.0 for bias in biases.values()):
            raise ValueError("a bias is from −100 to 100")
        return biases

    @field_validator("best_of")
    @classmethod
    def _every_answer_is_shown(cls, best_of: int, info: ValidationInfo) -> int:
        if best_of not in (1, info.data.get("n")):
            raise ValueError("it must be 1 or equal to n, answers that are not shown are not generated")
        return best_of

    @property
    def wanted_tokens(self) -> int | None:
        """Tokens to generate, where the client said how many."""
        return self.max_tokens

    @property
    def wanted_logprobs(self) -> int | None:
        """How many of the likeliest tokens to report with each token; None: no log-probabilities."""
        raise NotImplementedError


G = TypeVar("G", bound=GenerationRequest)
Prompt = str | list[int]


class CompletionRequest(GenerationRequest):
    """POST /v1/completions."""

    prompt: Prompt | list[str] | list[list[int]]
    logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    echo: Literal[False] = False
    suffix: Literal[""] = ""

    @field_validator("prompt", mode="before")
    @classmethod
    def _is_of_a_known_form(cls, prompt: Any) -> Any:
        """Checked by hand, for one complaint instead of one for each form."""
        if not (isinstance(prompt, str) or _is_list_of(prompt, _is_id, str, _is_ids)):
            raise ValueError("it must be a text, a list of token ids, a list of texts or a list of lists of token ids")
        return prompt

    @field_validator("echo", "suffix", mode="before")
    @classmethod
    def _not_served(cls, value: Any, info: ValidationInfo) -> Any:
        if value:
            raise ValueError(f"{info.field_name} is not served")
        return value

    @property
    def prompts(self) -> list[Prompt]:
        """All prompts, in the order of their answers."""
        prompt = self.prompt
        return [prompt] if isinstance(prompt, str) or _is_ids(prompt) else list(prompt)  # pyright: ignore[reportReturnType]

    @property
    def wanted_logprobs(self) -> int | None:
        return self.logprobs


def _is_list_of(value: Any, *kinds: Any) -> bool:
    return isinstance(value, list) and any(
        all(isinstance(item, kind) if isinstance(kind, type) else kind(item) for item in value) for kind in kinds
    )


def _is_id(value: Any) -> bool:
    return type(value) is int


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_id, value))
