"""Gives every response an `x-request-id`: the client's own if it sent a sane one, else a new one; and logs by it."""

from __future__ import annotations

import logging
import re
import secrets
import time
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.json_lines import MORE, note

log = logging.getLogger(__name__)

_SANE = re.compile(r"[!-~]{1,128}")


class RequestIdMiddleware:
    """Plain ASGI, so that streams and disconnects pass through untouched."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope).get("x-request-id", "")
        request_id = sent if _SANE.fullmatch(sent) else secrets.token_hex(16)
        note(request_id=request_id)
        began, status = time.monotonic(), None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)
        if scope["method"] == "POST":
            said = {"path": scope["path"], "status": status, "seconds": round(time.monotonic() - began, 3)}
            log.log(_level(status), "answered", extra={MORE: said})


def _level(status: int | None) -> int:
    """A client that is refused must cost next to nothing, however often it asks. None: it left before an answer."""
    is_refused = status is not None and status >= HTTPStatus.BAD_REQUEST
    return logging.DEBUG if is_refused and status != HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
