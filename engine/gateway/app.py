"""The gateway's ASGI application: which path leads where."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.config import PortArgs
from engine.gateway.endpoint_kind import ChatKind, TextKind
from engine.gateway.errors import EXCEPTION_HANDLERS
from engine.gateway.gateway import Gateway
from engine.gateway.generation_endpoint import GenerationEndpoint
from engine.gateway.openapi import document
from engine.gateway.request_id import RequestIdMiddleware
from engine.gateway.responses import JSON
from engine.gateway.status_views import StatusViews
from engine.gateway.token_views import TokenViews


def create_app(ports: PortArgs) -> Starlette:
    """The application of one gateway worker. Raises `CannotStart` where the model directory lacks something."""
    gateway = Gateway.build(ports)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await gateway.start()
        try:
            yield
        finally:
            await gateway.stop()

    app = Starlette(
        routes=_routes(gateway),
        middleware=[Middleware(RequestIdMiddleware)],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _routes(gateway: Gateway) -> list[Route]:
    status, tokens = StatusViews(gateway), TokenViews(gateway)
    return [
        Route("/v1/chat/completions", GenerationEndpoint(gateway, ChatKind()), methods=["POST"]),
        Route("/v1/completions", GenerationEndpoint(gateway, TextKind()), methods=["POST"]),
        Route("/v1/models", status.models),
        Route("/v1/models/{model:path}", status.model),
        Route("/v1/loads", status.loads),
        Route("/v1/health/live", status.alive),
        Route("/v1/health/ready", status.health),
        Route("/health", status.health),
        Route("/metrics", status.metrics),
        Route("/version", status.version),
        Route("/server_info", status.server_info),
        Route("/tokenize", tokens.tokenize, methods=["POST"]),
        Route("/detokenize", tokens.detokenize, methods=["POST"]),
        Route("/openapi.json", _openapi),
    ]


async def _openapi(request: Request) -> Response:
    return JSON(document())
