"""The endpoint under load: where it is, what it serves, and the bytes of a request to it."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from engine.errors import SemiPDError

ANSWER_SECONDS = 30.0


class NoEndpoint(SemiPDError):
    """Nothing answers there as an OpenAI-compatible endpoint does."""


class Endpoint(NamedTuple):
    """`address` is numeric: a name is looked up once, not for each request."""

    host: str
    address: str
    port: int
    is_tls: bool
    ca_file: str | None
    api_key: str
    path: str
    model: str

    @property
    def tls_context(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.ca_file) if self.is_tls else None

    def request(self, body: bytes) -> bytes:
        """One whole HTTP request; the connection is not used again."""
        head = (
            f"POST {self.path}/completions HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nConnection: close\r\n"
            f"Authorization: Bearer {self.api_key}\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def find_endpoint(url: str, api_key: str, model: str | None = None, ca_file: Path | None = None) -> Endpoint:
    """Ask `url` (with or without `/v1`) for its models and take `model`, or the first. Raises `NoEndpoint`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NoEndpoint(f"The address {url!r} is no http:// or https:// URL.")
    path = parts.path.rstrip("/").removesuffix("/v1") + "/v1"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    unknown = Endpoint(
        parts.hostname, "", port, parts.scheme == "https", ca_file and str(ca_file), api_key, path, model or ""
    )
    try:
        address, names = _ask_models(unknown)
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise NoEndpoint(
            f"{url} does not tell its models at {path}/models: {error or type(error).__name__}."
        ) from error
    if not names or (model and model not in names):
        raise NoEndpoint(f"{url} serves {', '.join(names) or 'no model'}{f', not {model}' if model else ''}.")
    return unknown._replace(address=address, model=model or names[0])


def _ask_models(endpoint: Endpoint) -> tuple[str, list[str]]:
    """The numeric address that answered, and the names of the models it serves."""
    context = endpoint.tls_context
    where = (endpoint.host, endpoint.port)
    connection = (
        http.client.HTTPSConnection(*where, timeout=ANSWER_SECONDS, context=context)
        if context
        else http.client.HTTPConnection(*where, timeout=ANSWER_SECONDS)
    )
    try:
        connection.connect()
        address = connection.sock.getpeername()[0]
        connection.request("GET", f"{endpoint.path}/models", headers={"Authorization": f"Bearer {endpoint.api_key}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise ValueError(f"it answers {answer.status}")
        return address, [card["id"] for card in json.loads(body)["data"]]
    finally:
        connection.close()
