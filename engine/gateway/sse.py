"""Server-sent events as OpenAI's clients parse them."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.types import Send

DONE = b"data: [DONE]\n\n"

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy must pass every event on at once
]
_encoder = msgspec.json.Encoder()


def event(content: Any) -> bytes:
    """One event: JSON has no raw line breaks, so it is one line."""
    return b"data: " + _encoder.encode(content) + b"\n\n"


class EventStream:
    """The response that carries events; `open` sends the headers."""

    def __init__(self, send: Send):
        self._send = send

    async def open(self) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})

    async def write(self, events: bytes) -> None:
        """Returns once the events are with the socket, or the client is gone."""
        await self._send({"type": "http.response.body", "body": events, "more_body": True})

    async def close(self, events: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": events, "more_body": False})
