"""Reads a request body that is not trusted to be as long as it says."""

from __future__ import annotations

from starlette.requests import Request

from engine.errors import BodyTooLarge


async def read_body(request: Request, most_bytes: int) -> bytes:
    """Raises `BodyTooLarge` as soon as more bytes have come, or were announced. Not after the last byte."""
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > most_bytes:
        raise _too_large(most_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise _too_large(most_bytes)
    return bytes(body)


def _too_large(most_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {most_bytes} bytes, the bound of this server.")
