"""Takes a generation request in: checks it, hands it to the engine, and notices when the client leaves."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, NamedTuple

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.types import Receive, Scope, Send

from engine.errors import InvalidRequest
from engine.fault_point import FaultPoint, reached
from engine.gateway.admission import admit
from engine.gateway.answer import AnswerText, Choice
from engine.gateway.batch import Batch
from engine.gateway.body import read_body
from engine.gateway.detokenizer import Detokenizer
from engine.gateway.endpoint_kind import Kind
from engine.gateway.exchange import Exchange
from engine.gateway.gateway import Gateway
from engine.gateway.generation import ClientLeft
from engine.gateway.generation_schema import MAX_CHOICES, G, GenerationRequest
from engine.gateway.metrics import Observation
from engine.gateway.replies import Style, answer_id
from engine.gateway.responses import JSON
from engine.gateway.sampling import SamplingPlan, for_choice
from engine.gateway.schema import parse
from engine.gateway.sse import EventStream
from engine.gateway.stop_strings import StopStrings
from engine.gateway.structure import grammar_for
from engine.json_lines import note
from engine.request import Request


class _Order(NamedTuple, Generic[G]):
    """A request that was checked. `requests`: for each prompt in turn, one for each of its `n` choices."""

    asked: G
    prompts: list[list[int]]
    requests: list[Request]


class GenerationEndpoint(Generic[G]):
    """A plain ASGI endpoint, so that the client's disconnect can be watched from hand-in to last byte."""

    def __init__(self, gateway: Gateway, kind: Kind[G]):
        self._gateway = gateway
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            order = await self._checked(HTTPRequest(scope, receive))
            note(answer_id=answer_id(order.requests[0].request_id))
            with Batch.submit(self._gateway.engine, order.requests) as batch:
                reached(FaultPoint.GATEWAY_HANDED_IN)
                async with _watched(receive, batch):
                    await batch.accepted()
                    reached(FaultPoint.GATEWAY_ACCEPTED)
                    exchange = self._exchange(order, batch)
                    if order.asked.stream:
                        await exchange.stream(EventStream(send), order.asked.stream_options.include_usage)
                    else:
                        await JSON(await exchange.whole())(scope, receive, send)
        except (ClientLeft, ClientDisconnect):
            pass  # nobody is there to be answered, and leaving the context has cancelled the requests

    async def _checked(self, http: HTTPRequest) -> _Order[G]:
        """What was asked, and what to hand in for it; cheap checks come first. Raises `RequestError`."""
        gateway, model = self._gateway, self._gateway.model
        key_id = gateway.keys.enter(http.headers.get("authorization"))
        body = await read_body(http, gateway.max_body_bytes)
        received_at = time.monotonic()
        asked = parse(self._kind.schema, body)
        model.check_name(asked.model)
        load = gateway.load
        admit(load, key_id)
        prompts = await self._kind.prompts(asked, gateway)
        grammar = await grammar_for(asked, model, gateway.compiler)
        plan = SamplingPlan(
            most_tokens=min(load.max_model_len or model.most_tokens, load.pool_tokens),
            vocab_size=model.config.vocab_size,
            eos_token_ids=model.config.eos_token_ids,
            defaults=model.sampling_defaults,
            default_max_tokens=self._kind.default_max_tokens,
        )
        return _Order(asked, prompts, _requests(asked, prompts, plan, grammar, key_id, received_at))

    def _exchange(self, order: _Order[G], batch: Batch) -> Exchange:
        gateway, model, asked = self._gateway, self._gateway.model, order.asked
        style = Style(
            tokenizer=model.tokenizer,
            prompts=order.prompts,
            n=asked.n,
            include_usage=asked.stream_options.include_usage,
            shows_ids=asked.return_token_ids,
            shows_logprobs=asked.wanted_logprobs is not None,
        )
        pieces = self._kind.pieces(asked, model)
        choices = [
            Choice(index, generation, AnswerText(Detokenizer(pieces), StopStrings(asked.stop), asked.min_tokens))
            for index, generation in enumerate(batch.generations)
        ]
        observations = [
            Observation(gateway.metrics, request.received_at, 0 if index % asked.n else len(request.prompt_ids))
            for index, request in enumerate(order.requests)
        ]
        replies = self._kind.replies(asked, order.requests[0].request_id, model, style)
        return Exchange(batch, choices, replies, observations, sum(map(len, order.prompts)))


def _requests(
    asked: GenerationRequest,
    prompts: list[list[int]],
    plan: SamplingPlan,
    grammar: bytes | None,
    key_id: str,
    received_at: float,
) -> list[Request]:
    """Raises `InvalidRequest` or `ContextLengthExceeded`."""
    if len(prompts) * asked.n > MAX_CHOICES:
        raise InvalidRequest(
            f"{len(prompts)} prompts with {asked.n} answers each are more than {MAX_CHOICES} answers to one request.",
            param="n" if asked.n > 1 else "prompt",
        )
    drawn = secrets.randbits(63) if asked.seed is None else asked.seed
    sampled = [(prompt, plan.params(asked, len(prompt), drawn, grammar)) for prompt in prompts for _ in range(asked.n)]
    return [
        Request(
            secrets.randbits(63),
            prompt,
            for_choice(sampling, index),
            key_id=key_id,
            priority=asked.priority,
            received_at=received_at,
        )
        for index, (prompt, sampling) in enumerate(sampled)
    ]


@asynccontextmanager
async def _watched(receive: Receive, batch: Batch) -> AsyncIterator[None]:
    """Tell the batch at once when the client closes its connection. The body must have been read."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        batch.client_left()

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
