"""Asks the appliance's own REST endpoint on behalf of the playground, and measures what its user sees."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any

from engine.config import ServerArgs

WAIT_SECONDS = 120.0


class Playground:
    """`key` opens the endpoint; it never leaves this machine, nor reaches the browser."""

    def __init__(self, settings: ServerArgs, key: str):
        self._settings = settings
        self._key = key

    def chat(self, body: dict[str, Any]) -> Iterator[str]:
        """Server-sent events: `text` pieces, then one `figures`; or one `problem`, which is a sentence."""
        request = body | {"model": self._settings.model_name, "stream": True}
        request["stream_options"] = {"include_usage": True}
        connection = self._connection()
        try:
            began = time.monotonic()
            connection.request("POST", "/v1/chat/completions", json.dumps(request), self._headers)
            answer = connection.getresponse()
            yield from _relayed(answer, began) if answer.status == 200 else [_refused(answer)]
        except (OSError, HTTPException) as error:
            yield _event("problem", f"The endpoint does not answer: {error}.")
        finally:
            connection.close()

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}

    def _connection(self) -> HTTPConnection:
        """To our own machine, whoever the certificate is made out to."""
        host, port = self._settings.host, self._settings.port
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        if self._settings.url_scheme == "http":
            return HTTPConnection(local, port, timeout=WAIT_SECONDS)
        unverified = ssl.create_default_context()
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        return HTTPSConnection(local, port, timeout=WAIT_SECONDS, context=unverified)


def _relayed(answer: HTTPResponse, began: float) -> Iterator[str]:
    first = last = None
    usage: dict[str, Any] = {}
    reason = ""
    for line in answer:
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[len(b"data: ") :])
        if "error" in chunk:
            yield _event("problem", chunk["error"]["message"])
            return
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            reason = choice.get("finish_reason") or reason
            if text := choice["delta"].get("content"):
                last = time.monotonic()
                first = first or last
                yield _event("text", text)
    yield _event("figures", _figures(began, first, last, usage, reason))


def _figures(
    began: float, first: float | None, last: float | None, usage: dict[str, Any], reason: str
) -> dict[str, Any]:
    """Milliseconds; TPOT is (last token − first token) / (tokens − 1)."""
    tokens = usage.get("completion_tokens", 0)
    many = first is not None and last is not None and tokens > 1
    return {
        "ttft_ms": None if first is None else 1000 * (first - began),
        "tpot_ms": 1000 * (last - first) / (tokens - 1) if many and first and last else None,
        "prompt_tokens": usage.get("prompt_tokens"),
        "tokens": tokens,
        "finish_reason": reason,
    }


def _refused(answer: HTTPResponse) -> str:
    try:
        sentence = json.loads(answer.read())["error"]["message"]
    except (ValueError, KeyError, TypeError):
        sentence = f"The endpoint answered {answer.status}."
    return _event("problem", sentence)


def _event(kind: str, value: Any) -> str:
    return f"data: {json.dumps({kind: value})}\n\n"
