"""From the bytes of one HTTP answer to its judgement: what readers of streams and of whole answers share. No I/O."""

from __future__ import annotations

import httptools

from bench.record import Record


class HttpReader:
    """Fills `record` with what arrives. `is_finished`: nothing more can come that would change it.

    Who derives from it is called by the parser (`on_body`, …), finds in `_now` when that came, judges in `_failure`.
    """

    def __init__(self, record: Record):
        self._record = record
        self._parser = httptools.HttpResponseParser(self)
        self._now = 0.0
        self.is_finished = False

    def feed(self, data: bytes, now: float) -> None:
        """Bytes that arrived at `now`."""
        self._now = now
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._record.failure = "no HTTP"
            self.is_finished = True

    def end(self) -> None:
        """No more bytes come: judge what there is."""
        if self._record.failure != "no HTTP":
            self._record.failure = self._failure()

    def _failure(self) -> str | None:
        raise AssertionError("a reader judges what it has read")
