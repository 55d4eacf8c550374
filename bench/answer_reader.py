"""From the bytes of one streamed HTTP answer to the times of its tokens. Does no I/O and knows no clock.

An event counts as tokens if it has a `text` member; it is not decoded for that, and neither are the token ids in it,
whose commas are counted, unless the record keeps them. Only the few events with something else (usage, an error, the
end) are decoded as JSON.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bench.http_reader import HttpReader
from bench.record import Record

_DATA = b"data:"
_DONE = b"[DONE]"
_TEXT = b'"text"'
_USAGE = b'"completion_tokens"'
_TOKEN_IDS = b'"token_ids":['


class AnswerReader(HttpReader):
    """Fills `record` with what arrives. `is_finished`: nothing more can come that would change it."""

    def __init__(self, record: Record):
        super().__init__(record)
        self._status = 0
        self._pending = b""
        self._has_error = False
        self._is_done = False

    def _failure(self) -> str | None:
        record = self._record
        if self._status not in (0, 200):
            return f"HTTP {self._status}"
        if self._has_error:
            return "error event"
        if not self._is_done:
            return "cut off"
        if record.completion_tokens is None:
            return "no usage"
        if record.completion_tokens != record.output_tokens or record.prompt_tokens != record.input_tokens:
            return "wrong length"
        if not record.events or (record.event_tokens and sum(record.event_tokens) != record.completion_tokens):
            return "miscounted"
        return None

    # ── called by the parser ────────────────────────────────────────────────────────────────────────────────────────

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if self._status != 200:
            return
        lines = (self._pending + body).split(b"\n")
        self._pending = lines.pop()
        for line in lines:
            if line.startswith(_DATA):
                self._on_event(line)

    def on_message_complete(self) -> None:
        self.is_finished = True

    def _on_event(self, line: bytes) -> None:
        has_text = _TEXT in line
        if has_text:
            self._record.events.append(self._now)
            ids = line.find(_TOKEN_IDS)
            if ids >= 0:
                self._record.event_tokens.append(_listed(line, ids + len(_TOKEN_IDS)))
                if self._record.token_ids is not None:
                    self._record.token_ids += _named(line, ids + len(_TOKEN_IDS))
        if not has_text or _USAGE in line:
            self._on_other(line[len(_DATA) :].strip())

    def _on_other(self, data: bytes) -> None:
        if data == _DONE:
            self._is_done = True
            return
        event = _decoded(data)
        self._has_error |= event is None or "error" in event
        usage = event.get("usage") if event else None
        if usage:
            self._record.prompt_tokens = usage.get("prompt_tokens")
            self._record.completion_tokens = usage.get("completion_tokens")


def _listed(line: bytes, begin: int) -> int:
    """Items of the JSON list of numbers that begins there."""
    end = line.index(b"]", begin)
    return line.count(b",", begin, end) + 1 if end > begin else 0


def _named(line: bytes, begin: int) -> list[int]:
    """The numbers of the JSON list that begins there."""
    return [int(number) for number in line[begin : line.index(b"]", begin)].split(b",") if number.strip()]


def _decoded(data: bytes) -> dict[str, Any] | None:
    """None for what is no JSON object."""
    try:
        event = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return None
    return event if isinstance(event, dict) else None
