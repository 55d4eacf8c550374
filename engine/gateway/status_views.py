"""The endpoints that only tell. Health, metrics and the version need no key: probes and scrapers have none."""

from __future__ import annotations

import time

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from engine.gateway.gateway import Gateway
from engine.gateway.responses import JSON, Health, Liveness, ModelCard, ModelList, ServerInfo, Version
from engine.gateway.version import version


class StatusViews:
    """What there is to know of the model, the settings and the load."""

    def __init__(self, gateway: Gateway):
        self._gateway = gateway
        self._created = int(time.time())
        self._version = version()

    async def models(self, request: Request) -> Response:
        self._check_key(request)
        return JSON(ModelList([self._card]))

    async def model(self, request: Request) -> Response:
        self._check_key(request)
        name = request.path_params["model"]
        if not name:
            raise HTTPException(404)
        self._gateway.model.check_name(name)
        return JSON(self._card)

    async def alive(self, request: Request) -> Response:
        return JSON(Liveness())

    async def health(self, request: Request) -> Response:
        """Ready where requests are taken and tokens come through."""
        load = self._gateway.load
        reason = self._gateway.path.problem if load.ready else "The engine is not ready yet."
        status = "not ready" if reason else "ready"
        health = Health(status, load.waiting, load.running, load.free_pages, load.total_pages, reason)
        return JSON(health, 503 if reason else 200)

    async def version(self, request: Request) -> Response:
        return JSON(Version(self._version))

    async def server_info(self, request: Request) -> Response:
        self._check_key(request)
        return JSON(ServerInfo.of(self._gateway.settings, self._version, self._gateway.most_tokens))

    async def loads(self, request: Request) -> Response:
        """What one key may know: not what others are doing."""
        key_id = self._check_key(request)
        load = msgspec.to_builtins(self._gateway.load)
        live_by_key = load.pop("live_by_key")
        return JSON({**load, "live_of_this_key": live_by_key.get(key_id, 0)})

    async def metrics(self, request: Request) -> Response:
        return self._gateway.metrics.response(self._gateway.load)

    @property
    def _card(self) -> ModelCard:
        return ModelCard(self._gateway.model.name, self._created, self._gateway.most_tokens)

    def _check_key(self, request: Request) -> str:
        """The key id. Raises `Unauthorized`."""
        return self._gateway.keys.check(request.headers.get("authorization"))
