"""The gateway's ASGI application: which path leads where."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.config import PortArgs
from engine.gateway.errors import EXCEPTION_HANDLERS
from engine.gateway.gateway import Gateway
from engine.gateway.generation_endpoint import CHAT, TEXT, GenerationEndpoint
from engine.gateway.request_id import RequestIdMiddleware
from engine.gateway.responses import JSON, ModelCard, ModelList


def create_app(ports: PortArgs) -> Starlette:
    """The application of one gateway worker. Raises `CannotStart` where the model directory lacks something."""
    gateway = Gateway.build(ports)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await gateway.engine.start()
        try:
            yield
        finally:
            await gateway.engine.stop()
            gateway.load_reader.close()

    views = _Views(gateway)
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", GenerationEndpoint(gateway, CHAT), methods=["POST"]),
            Route("/v1/completions", GenerationEndpoint(gateway, TEXT), methods=["POST"]),
            Route("/v1/models", views.models),
            Route("/health", views.health),
            Route("/metrics", views.metrics),
        ],
        middleware=[Middleware(RequestIdMiddleware)],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


class _Views:
    """The endpoints that only tell. Health and metrics need no key: probes and scrapers have none."""

    def __init__(self, gateway: Gateway):
        self._gateway = gateway
        self._created = int(time.time())

    async def models(self, request: Request) -> Response:
        gateway = self._gateway
        gateway.keys.check(request.headers.get("authorization"))
        most_tokens = gateway.load.max_model_len or gateway.model.most_tokens
        return JSON(ModelList([ModelCard(gateway.model.name, self._created, most_tokens)]))

    async def health(self, request: Request) -> Response:
        load = self._gateway.load
        body = {
            "status": "ready" if load.ready else "not ready",
            "waiting": load.waiting,
            "running": load.running,
            "free_pages": load.free_pages,
            "total_pages": load.total_pages,
        }
        return JSON(body, 200 if load.ready else 503)

    async def metrics(self, request: Request) -> Response:
        return self._gateway.metrics.response(self._gateway.load)
