"""Every error that reaches a client, as OpenAI's error body."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from engine.errors import EngineFailure, RequestError, Unauthorized
from engine.gateway.responses import JSON, ErrorBody, ErrorDetail

_MOST_SHOWN_OF_PATH = 200


def error_body(error: RequestError) -> ErrorBody:
    return ErrorBody(ErrorDetail(error.message, error.type, error.param, error.code))


def error_response(error: RequestError) -> Response:
    headers = {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return JSON(error_body(error), error.status, headers)


def closing_answer(status: HTTPStatus, sentence: str) -> bytes:
    """A whole HTTP answer to what was no request yet; the connection ends with it."""
    body = msgspec.json.encode(ErrorBody(ErrorDetail(sentence, RequestError.type, None, None)))
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


async def _request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error_response(error)


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router says: no such path, or not this method."""
    assert isinstance(error, HTTPException)
    sentence = f"{error.detail}: {request.method} {request.url.path[:_MOST_SHOWN_OF_PATH]}."
    return JSON(
        ErrorBody(ErrorDetail(sentence, RequestError.type, None, None)), error.status_code, dict(error.headers or {})
    )


async def _unexpected(request: Request, error: Exception) -> Response:
    """A mistake of ours; the server logs it with its trace."""
    return error_response(EngineFailure("The gateway failed on this request."))


EXCEPTION_HANDLERS: dict[int | type[Exception], ExceptionHandler] = {
    RequestError: _request_error,
    HTTPException: _http_error,
    Exception: _unexpected,
}
