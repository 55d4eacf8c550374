"""A token asked for as an upgrade asks: of a real HTTP server in the gateway's place."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from appliance.machine.answering import loopback_url, require_answer
from engine.config import ServerArgs
from engine.errors import CannotStart


@contextmanager
def endpoint(*statuses: int) -> Iterator[ServerArgs]:
    """Settings of a server that answers with these statuses, one after the other, and goes on with the last."""
    waiting = list(statuses)

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(waiting.pop(0) if len(waiting) > 1 else waiting[0])
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing is logged."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield ServerArgs(device="cpu", port=server.server_port)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("statuses", [(200,), (503, 200), (401,), (429,)])
def test_an_answer_is_enough_whoever_the_key_belongs_to(statuses: tuple[int, ...]) -> None:
    with endpoint(*statuses) as settings:
        require_answer(settings, "sk-key", time.monotonic() + 30)


def test_who_never_answers_is_told_with_the_last_reason() -> None:
    with endpoint(500) as settings, pytest.raises(CannotStart, match="HTTP 500"):
        require_answer(settings, "sk-key", time.monotonic() + 1)


def test_this_machine_reaches_it_by_loopback_where_it_is_bound_everywhere() -> None:
    settings = ServerArgs(device="cpu", host="0.0.0.0", port=9000, insecure_bind=True)
    assert loopback_url(settings) == "http://127.0.0.1:9000"
