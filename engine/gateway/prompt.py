"""A request's prompt as token ids. Long texts are tokenised beside the event loop, so that streams go on."""

from __future__ import annotations

import asyncio

from engine.errors import InvalidRequest
from engine.gateway.schema import ChatRequest, CompletionRequest
from engine.gateway.served_model import ServedModel

_LONG_TEXT = 4096  # characters; about a millisecond of tokenising


async def chat_prompt_ids(asked: ChatRequest, model: ServedModel) -> list[int]:
    """The template writes the special tokens itself. Raises `InvalidRequest`."""
    template = model.chat_template
    if template is None:
        raise InvalidRequest(f"The model {model.name!r} has no chat template; use /v1/completions.")
    messages = [message.for_template for message in asked.messages]

    def encode() -> list[int]:
        return model.tokenizer.encode(template.render(messages), add_special_tokens=False)

    length = sum(len(message.content) for message in asked.messages)
    return _at_least_one(await asyncio.to_thread(encode) if length > _LONG_TEXT else encode(), "messages")


async def text_prompt_ids(asked: CompletionRequest, model: ServedModel) -> list[int]:
    """Text is framed as the model expects; token ids are taken as they are. Raises `InvalidRequest`."""
    prompt = asked.prompt
    if isinstance(prompt, list):
        return _at_least_one(_within_vocabulary(prompt, model.config.vocab_size), "prompt")

    def encode() -> list[int]:
        return model.tokenizer.encode(prompt, add_special_tokens=True)

    return _at_least_one(await asyncio.to_thread(encode) if len(prompt) > _LONG_TEXT else encode(), "prompt")


def _within_vocabulary(token_ids: list[int], vocab_size: int) -> list[int]:
    for token_id in token_ids:
        if not 0 <= token_id < vocab_size:
            raise InvalidRequest(f"The token id {token_id} is not from 0 to {vocab_size - 1}.", param="prompt")
    return token_ids


def _at_least_one(token_ids: list[int], param: str) -> list[int]:
    if not token_ids:
        raise InvalidRequest("The prompt must have at least one token.", param=param)
    return token_ids
