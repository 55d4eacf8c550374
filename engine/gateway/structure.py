"""From the structure that a client asks of an answer to the grammar that the engine keeps to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.errors import InvalidRequest
from engine.gateway.chat_schema import ChatRequest
from engine.gateway.generation_schema import GenerationRequest
from engine.gateway.served_model import ServedModel
from engine.grammar.compiler import GrammarCompiler
from engine.grammar.schema import ANY_OBJECT, checked

_FIELD = "response_format"


async def grammar_for(asked: GenerationRequest, model: ServedModel, compiler: GrammarCompiler) -> bytes | None:
    """None for free text. Raises `InvalidRequest` or `EngineFailure`."""
    schema, field = asked.response_format.wanted_schema, _FIELD
    if schema is None and isinstance(asked, ChatRequest) and asked.demanded_tools:
        schema, field = call_schema(asked.demanded_tools), "tools"
    if schema is None:
        return None
    _check_nothing_contradicts(asked, model, field)
    try:
        return await compiler.grammar(checked(schema))
    except InvalidRequest as error:
        raise InvalidRequest(error.message, param=field) from error


def call_schema(tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A call of one of the tools, as `LlamaParser` reads it. Definitions that parameters refer to move to the root."""
    definitions: dict[str, Any] = {}
    calls = [_call_of(tool["function"], definitions) for tool in tools]
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return schema | ({"$defs": definitions} if definitions else {})


def _call_of(function: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    parameters = dict(function.get("parameters") or ANY_OBJECT)
    own = parameters.pop("$defs", {})
    if not isinstance(own, dict):
        raise InvalidRequest(f"The '$defs' of the tool {function['name']!r} must be an object.", param="tools")
    for name, definition in own.items():
        if definitions.setdefault(name, definition) != definition:
            raise InvalidRequest(f"Two tools define {name!r} differently; one of them must be renamed.", param="tools")
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "parameters": parameters},
        "required": ["name", "parameters"],
        "additionalProperties": False,
    }


def _check_nothing_contradicts(asked: GenerationRequest, model: ServedModel, field: str) -> None:
    if field == _FIELD and isinstance(asked, ChatRequest) and asked.offered_tools:
        raise InvalidRequest(
            "An answer of a given format cannot call tools; ask without tools or format.", param=_FIELD
        )
    if asked.ignore_eos or asked.min_tokens:
        name = "ignore_eos" if asked.ignore_eos else "min_tokens"
        raise InvalidRequest("An answer of a given format ends where it is complete.", param=name)
    if not model.config.eos_token_ids:
        raise InvalidRequest(f"The model {model.name!r} has no token to end an answer with.", param=field)
