"""Streamed answers, byte by byte as servers write them."""

from __future__ import annotations

import json
from typing import Any

from bench.record import Record

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


def text_event(text: str, **choice: Any) -> bytes:
    """An event with text, whose usage is null until the end."""
    return event(choices=[{"index": 0, "text": text, "finish_reason": None, **choice}], usage=None)


def usage_event(prompt_tokens: int, completion_tokens: int) -> bytes:
    used = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return event(choices=[], usage=used)


def chunked(*bodies: bytes) -> list[bytes]:
    """Each body as an HTTP chunk, and the end."""
    return [b"%x\r\n%s\r\n" % (len(body), body) for body in bodies] + [b"0\r\n\r\n"]


def make_record(
    events: list[float], tokens: int | None = None, due: float = 0.0, sent: float | None = None, **fields: Any
) -> Record:
    """A request that went well, unless `fields` say otherwise."""
    count = len(events) if tokens is None else tokens
    whole = {"completion_tokens": count, "prompt_tokens": 5, "failure": None}
    return Record(due, 5, count, sent=due if sent is None else sent, events=events, **(whole | fields))
