"""Takes a generation request in: checks it, hands it to the engine, and notices when the client leaves."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.types import Receive, Scope, Send

from engine.gateway.admission import admit
from engine.gateway.answer import AnswerText
from engine.gateway.body import read_body
from engine.gateway.detokenizer import Detokenizer
from engine.gateway.exchange import Exchange
from engine.gateway.gateway import Gateway
from engine.gateway.generation import ClientLeft, Generation
from engine.gateway.metrics import Observation
from engine.gateway.prompt import chat_prompt_ids, text_prompt_ids
from engine.gateway.responses import JSON, ChatReplies, Replies, TextReplies
from engine.gateway.sampling import sampling_params
from engine.gateway.schema import ChatRequest, CompletionRequest, R, parse
from engine.gateway.served_model import ServedModel
from engine.gateway.sse import EventStream
from engine.gateway.stop_strings import StopStrings
from engine.request import Request


@dataclass(frozen=True, slots=True)
class Kind(Generic[R]):
    """What sets the two generation endpoints apart. `default_max_tokens` None: as many as fit."""

    schema: type[R]
    prompt_ids: Callable[[R, ServedModel], Awaitable[list[int]]]
    replies: Callable[[int, str, bool], Replies]
    default_max_tokens: int | None


TEXT = Kind(CompletionRequest, text_prompt_ids, TextReplies, default_max_tokens=16)
CHAT = Kind(ChatRequest, chat_prompt_ids, ChatReplies, default_max_tokens=None)


class GenerationEndpoint(Generic[R]):
    """A plain ASGI endpoint, so that the client's disconnect can be watched from hand-in to last byte."""

    def __init__(self, gateway: Gateway, kind: Kind[R]):
        self._gateway = gateway
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            asked, request = await self._checked(HTTPRequest(scope, receive))
            with self._gateway.engine.submit(request) as generation:
                async with _watched(receive, generation):
                    await generation.accepted()
                    exchange = self._exchange(asked, generation)
                    if asked.stream:
                        await exchange.stream(EventStream(send), asked.stream_options.include_usage)
                    else:
                        await JSON(await exchange.whole())(scope, receive, send)
        except (ClientLeft, ClientDisconnect):
            pass  # nobody is there to be answered, and leaving the context has cancelled the request

    async def _checked(self, http: HTTPRequest) -> tuple[R, Request]:
        """What was asked, and what to hand in for it; cheap checks come first. Raises `RequestError`."""
        gateway, model = self._gateway, self._gateway.model
        key_id = gateway.keys.check(http.headers.get("authorization"))
        body = await read_body(http, gateway.max_body_bytes)
        received_at = time.monotonic()
        asked = parse(self._kind.schema, body)
        model.check_name(asked.model)
        load = gateway.load
        admit(load)
        prompt_ids = await self._kind.prompt_ids(asked, model)
        sampling = sampling_params(
            asked,
            prompt_tokens=len(prompt_ids),
            most_tokens=min(load.max_model_len or model.most_tokens, load.pool_tokens),
            default_max_tokens=self._kind.default_max_tokens,
            eos_token_ids=model.config.eos_token_ids,
            defaults=model.sampling_defaults,
        )
        return asked, Request(secrets.randbits(63), prompt_ids, sampling, key_id=key_id, received_at=received_at)

    def _exchange(self, asked: R, generation: Generation) -> Exchange:
        gateway, request = self._gateway, generation.request
        return Exchange(
            generation,
            AnswerText(Detokenizer(gateway.model.tokenizer.pieces), StopStrings(asked.stop), asked.min_tokens),
            self._kind.replies(request.request_id, gateway.model.name, asked.stream_options.include_usage),
            Observation(gateway.metrics, request.received_at, len(request.prompt_ids)),
        )


@asynccontextmanager
async def _watched(receive: Receive, generation: Generation) -> AsyncIterator[None]:
    """Tell the generation at once when the client closes its connection. The body must have been read."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        generation.client_left()

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
