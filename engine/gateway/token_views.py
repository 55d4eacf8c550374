"""/tokenize and /detokenize: what the model makes of a text, and a text of tokens."""

from __future__ import annotations

from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from engine.gateway.body import read_body
from engine.gateway.gateway import Gateway
from engine.gateway.prompt import encode, render_chat, within_vocabulary
from engine.gateway.responses import JSON, Detokenized, Tokenized
from engine.gateway.schema import parse
from engine.gateway.token_schema import DetokenizeRequest, TokenizeRequest

T = TypeVar("T", TokenizeRequest, DetokenizeRequest)


class TokenViews:
    """They need a key, because they take work, and no engine."""

    def __init__(self, gateway: Gateway):
        self._gateway = gateway

    async def tokenize(self, request: Request) -> Response:
        asked = await self._asked(request, TokenizeRequest)
        model = self._gateway.model
        token_ids = await self._token_ids(asked)
        names = None
        if asked.return_token_strs:
            names = [model.tokenizer.written_out(token_id).decode(errors="replace") for token_id in token_ids]
        return JSON(Tokenized(len(token_ids), self._gateway.most_tokens, token_ids, names))

    async def detokenize(self, request: Request) -> Response:
        asked = await self._asked(request, DetokenizeRequest)
        model = self._gateway.model
        token_ids = within_vocabulary(asked.tokens, model.config.vocab_size, "tokens")
        return JSON(Detokenized(model.tokenizer.decode(token_ids)))

    async def _token_ids(self, asked: TokenizeRequest) -> list[int]:
        gateway = self._gateway
        if asked.prompt is not None:
            return await encode(asked.prompt, gateway.model, add_special_tokens=asked.add_special_tokens)
        text = await render_chat(
            asked.messages,
            gateway.model,
            gateway.renderer,
            tools=asked.tools,
            more=asked.chat_template_kwargs,
            is_open=asked.add_generation_prompt,
        )
        return await encode(text, gateway.model, add_special_tokens=False)

    async def _asked(self, request: Request, schema: type[T]) -> T:
        gateway = self._gateway
        gateway.keys.check(request.headers.get("authorization"))
        asked = parse(schema, await read_body(request, gateway.max_body_bytes))
        if asked.model is not None:
            gateway.model.check_name(asked.model)
        return asked
