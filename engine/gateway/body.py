"""Reads a request body that is not trusted to be as long, or of the kind, that it says."""

from __future__ import annotations

from starlette.requests import Request

from engine.errors import BodyTooLarge, UnsupportedMediaType


async def read_body(request: Request, most_bytes: int) -> bytes:
    """Raises `BodyTooLarge` as soon as more bytes have come, or were announced. Not after the last byte.

    Raises `UnsupportedMediaType` for a body that says it is not plain JSON; one that says nothing is taken for it.
    """
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > most_bytes:
        raise _too_large(most_bytes)
    _require_json(request)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise _too_large(most_bytes)
    return bytes(body)


def _require_json(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("", "application/json"):
        raise UnsupportedMediaType("The request body must be JSON: send it with 'Content-Type: application/json'.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The request body must not be compressed.")


def _too_large(most_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {most_bytes} bytes, the bound of this server.")
