"""From the structure that a client asks of an answer to the grammar that the engine keeps to."""

from __future__ import annotations

from engine.errors import InvalidRequest
from engine.gateway.chat_schema import ChatRequest
from engine.gateway.generation_schema import GenerationRequest
from engine.gateway.served_model import ServedModel
from engine.grammar.compiler import GrammarCompiler
from engine.grammar.schema import checked

_FIELD = "response_format"


async def grammar_for(asked: GenerationRequest, model: ServedModel, compiler: GrammarCompiler) -> bytes | None:
    """None for free text. Raises `InvalidRequest` or `EngineFailure`."""
    schema = asked.response_format.wanted_schema
    if schema is None:
        return None
    _check_nothing_contradicts(asked, model)
    try:
        return await compiler.grammar(checked(schema))
    except InvalidRequest as error:
        raise InvalidRequest(error.message, param=_FIELD) from error


def _check_nothing_contradicts(asked: GenerationRequest, model: ServedModel) -> None:
    if isinstance(asked, ChatRequest) and asked.offered_tools:
        raise InvalidRequest(
            "An answer of a given format cannot call tools; ask without tools or format.", param=_FIELD
        )
    if asked.ignore_eos or asked.min_tokens:
        name = "ignore_eos" if asked.ignore_eos else "min_tokens"
        raise InvalidRequest("An answer of a given format ends where it is complete.", param=name)
    if not model.config.eos_token_ids:
        raise InvalidRequest(f"The model {model.name!r} has no token to end an answer with.", param=_FIELD)
