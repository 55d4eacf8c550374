"""A request's prompts as token ids. Long texts are tokenised beside the event loop, so that streams go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.errors import InvalidRequest
from engine.gateway.chat_schema import ChatRequest, Message
from engine.gateway.generation_schema import CompletionRequest, Prompt
from engine.gateway.served_model import ServedModel
from engine.gateway.template_renderer import TemplateRenderer

_LONG_TEXT = 4096  # characters; about a millisecond of tokenising


async def chat_prompt(asked: ChatRequest, model: ServedModel, renderer: TemplateRenderer) -> list[int]:
    """The template writes the special tokens itself. Raises `InvalidRequest` or `EngineFailure`."""
    tools = asked.offered_tools
    if tools and model.tool_parser is None and not asked.demanded_tools:
        raise InvalidRequest(
            f"The model {model.name!r} calls tools in no format that is known here, if it does at all.", param="tools"
        )
    text = await render_chat(asked.messages, model, renderer, tools=tools, more=asked.chat_template_kwargs)
    return _at_least_one(await encode(text, model, add_special_tokens=False), "messages")


async def render_chat(
    messages: Sequence[Message],
    model: ServedModel,
    renderer: TemplateRenderer,
    *,
    tools: Sequence[dict[str, Any]] = (),
    more: dict[str, Any] | None = None,
    is_open: bool = True,
) -> str:
    """The conversation as one text; with `is_open` it ends where the assistant begins to speak."""
    if not model.has_chat_template:
        raise InvalidRequest(f"The model {model.name!r} has no chat template; use /v1/completions.")
    turns = [message.for_template for message in messages]
    return await renderer.render(turns, tools, more or {}, is_open=is_open)


async def text_prompts(asked: CompletionRequest, model: ServedModel) -> list[list[int]]:
    """Texts are framed as the model expects; token ids are taken as they are. Raises `InvalidRequest`."""
    return [await _text_prompt(prompt, model) for prompt in asked.prompts]


async def _text_prompt(prompt: Prompt, model: ServedModel) -> list[int]:
    if isinstance(prompt, list):
        return _at_least_one(within_vocabulary(prompt, model.config.vocab_size, "prompt"), "prompt")
    return _at_least_one(await encode(prompt, model, add_special_tokens=True), "prompt")


async def encode(text: str, model: ServedModel, *, add_special_tokens: bool) -> list[int]:
    """Token ids of a text of any length."""
    if len(text) > _LONG_TEXT:
        return await model.tokenizer.encode_beside(text, add_special_tokens=add_special_tokens)
    return model.tokenizer.encode(text, add_special_tokens=add_special_tokens)


def within_vocabulary(token_ids: list[int], vocab_size: int, param: str) -> list[int]:
    """The same ids. Raises `InvalidRequest` for one that the model does not have."""
    for token_id in token_ids:
        if not 0 <= token_id < vocab_size:
            raise InvalidRequest(f"The token id {token_id} is not from 0 to {vocab_size - 1}.", param=param)
    return token_ids


def _at_least_one(token_ids: list[int], param: str) -> list[int]:
    if not token_ids:
        raise InvalidRequest("The prompt must have at least one token.", param=param)
    return token_ids
