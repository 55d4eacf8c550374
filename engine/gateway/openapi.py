"""The OpenAPI document: what the schemas say, and by hand what they cannot know."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import msgspec
from pydantic.json_schema import models_json_schema

from engine.gateway.chat_schema import ChatRequest
from engine.gateway.generation_schema import CompletionRequest
from engine.gateway.responses import (
    ChatBody,
    ChatChunk,
    Detokenized,
    ErrorBody,
    Health,
    Liveness,
    ModelCard,
    ModelList,
    ServerInfo,
    TextBody,
    Tokenized,
    Version,
)
from engine.gateway.schema import Fields
from engine.gateway.token_schema import DetokenizeRequest, TokenizeRequest
from engine.gateway.version import version

_KEY_ERRORS = (401,)
_BODY_ERRORS = (400, 401, 404, 413, 415)
_GENERATION_ERRORS = (*_BODY_ERRORS, 429, 500, 503)
_MEANINGS = {
    400: "A field has a value that cannot be served, or prompt and answer are too long.",
    401: "There is no API key, or one that is not known.",
    404: "This model is not served here.",
    413: "The body is larger than this server's bound.",
    415: "The body says that it is not plain JSON.",
    429: "This API key has too many requests in flight; Retry-After says when to come back.",
    500: "The engine or the gateway failed on this request.",
    503: "The engine is loading or its queue is full; Retry-After says when to come back.",
}


class _Operation(NamedTuple):
    """`answer`: the struct of a JSON body, or a media type. `chunk`: of the events where the answer is streamed."""

    method: str
    path: str
    summary: str
    answer: type | str
    asks: type[Fields] | None = None
    errors: tuple[int, ...] = ()
    chunk: type | None = None

    @property
    def needs_key(self) -> bool:
        return 401 in self.errors


_OPERATIONS = [
    _Operation(
        "post",
        "/v1/chat/completions",
        "Answer a conversation.",
        ChatBody,
        ChatRequest,
        _GENERATION_ERRORS,
        ChatChunk,
    ),
    _Operation("post", "/v1/completions", "Continue texts.", TextBody, CompletionRequest, _GENERATION_ERRORS, TextBody),
    _Operation("get", "/v1/models", "The model that is served.", ModelList, errors=_KEY_ERRORS),
    _Operation("get", "/v1/models/{model}", "One model.", ModelCard, errors=(401, 404)),
    _Operation("get", "/v1/loads", "How loaded the engine is.", "application/json", errors=_KEY_ERRORS),
    _Operation("get", "/v1/health/live", "The gateway runs.", Liveness),
    _Operation("get", "/v1/health/ready", "The engine takes requests; 503 if not.", Health),
    _Operation("get", "/health", "The same as /v1/health/ready.", Health),
    _Operation("get", "/metrics", "Prometheus metrics.", "text/plain"),
    _Operation("get", "/version", "The version of this server.", Version),
    _Operation("get", "/server_info", "The settings in force.", ServerInfo, errors=_KEY_ERRORS),
    _Operation(
        "post", "/tokenize", "The tokens of a text or a chat.", Tokenized, TokenizeRequest, (*_BODY_ERRORS, 500)
    ),
    _Operation("post", "/detokenize", "The text of tokens.", Detokenized, DetokenizeRequest, _BODY_ERRORS),
    _Operation("get", "/openapi.json", "This document.", "application/json"),
]


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for operation in _OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Semi-PD",
            "version": version(),
            "description": "Fields that a schema does not name are ignored. A null is a field that was not given.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}},
        },
    }


def _operation(operation: _Operation) -> dict[str, Any]:
    described: dict[str, Any] = {"summary": operation.summary, "responses": _responses(operation)}
    described["security"] = [{"key": []}] if operation.needs_key else []
    if operation.asks is not None:
        described["requestBody"] = {"required": True, "content": _json(_reference(operation.asks))}
    if "{model}" in operation.path:
        described["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    return described


def _responses(operation: _Operation) -> dict[str, Any]:
    answer = operation.answer
    content = {answer: {"schema": {}}} if isinstance(answer, str) else _json(_reference(answer))
    if operation.chunk is not None:
        content["text/event-stream"] = {"schema": _reference(operation.chunk)}
    responses = {"200": {"description": "OK", "content": content}}
    if answer is Health:
        responses["503"] = {"description": "Not ready.", "content": content}
    for status in operation.errors:
        responses[str(status)] = {"description": _MEANINGS[status], "content": _json(_reference(ErrorBody))}
    return responses


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _reference(kind: type) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _schemas() -> dict[str, Any]:
    _, asked = models_json_schema(
        [(operation.asks, "validation") for operation in _OPERATIONS if operation.asks],
        ref_template="#/components/schemas/{model}",
    )
    for schema in asked["$defs"].values():
        _allow_null(schema)
    answers = [kind for operation in _OPERATIONS for kind in _structs(operation)]
    _, answered = msgspec.json.schema_components([*answers, ErrorBody], ref_template="#/components/schemas/{name}")
    clashes = asked["$defs"].keys() & answered.keys()
    assert not clashes, f"two schemas are called {clashes}"
    return asked["$defs"] | answered


def _structs(operation: _Operation) -> Iterator[type]:
    yield from (kind for kind in (operation.answer, operation.chunk) if isinstance(kind, type))


def _allow_null(schema: dict[str, Any]) -> None:
    """A field that need not be given may be null: see `Fields`."""
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        if name not in required and {"type": "null"} not in field.get("anyOf", []):
            default = {"default": field.pop("default")} if "default" in field else {}
            schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **default}
