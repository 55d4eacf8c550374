"""From the bytes of one answer that is not streamed to its tokens. Does no I/O and knows no clock."""

from __future__ import annotations

import msgspec

from bench.http_reader import HttpReader
from bench.record import Record


class _Choice(msgspec.Struct):
    token_ids: list[int]


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage


class WholeReader(HttpReader):
    """Fills `record`; all of an answer's tokens come at once. `failure` is in the words of `AnswerReader`."""

    def __init__(self, record: Record):
        super().__init__(record)
        self._body = b""

    def _failure(self) -> str | None:
        record = self._record
        if not self.is_finished:
            return "cut off"
        if (status := self._parser.get_status_code()) != 200:
            return f"HTTP {status}"
        try:
            answer = msgspec.json.decode(self._body, type=_Answer)
        except msgspec.DecodeError:
            return "no JSON"
        record.events.append(self._now)
        record.prompt_tokens, record.completion_tokens = answer.usage.prompt_tokens, answer.usage.completion_tokens
        record.token_ids = answer.choices[0].token_ids
        if record.completion_tokens != record.output_tokens or record.prompt_tokens != record.input_tokens:
            return "wrong length"
        return None

    # ── called by the parser ────────────────────────────────────────────────────────────────────────────────────────

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.is_finished = True
