"""Clients that leave, and an engine that leaves and comes back."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from engine.wire.to_scheduler import GatewayHello, Resume, Submit
from tests.gateway.fake_scheduler import FakeScheduler
from tests.gateway.stand import KEY, MODEL, Stand, live_events, streamed_text


def ask(stand: Stand, *, stream: bool) -> socket.socket:
    """A request on a connection of our own."""
    body = json.dumps({"model": MODEL, "prompt": "Hi", "stream": stream}).encode()
    connection = socket.create_connection(("127.0.0.1", stand.port), timeout=30)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    return connection


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("steps", [0, 1])
def test_a_client_that_leaves_is_cancelled_at_once(stand: Stand, stream: bool, steps: int) -> None:
    stand.says("Hello world")
    stand.scheduler.is_held = True
    with ask(stand, stream=stream):
        request_id = stand.scheduler.expect(Submit).request.request_id
        for _ in range(steps):
            stand.scheduler.step()
    stand.scheduler.expect_cancel(request_id)  # though no token was sent since


def test_a_client_that_stays_is_not_cancelled(stand: Stand) -> None:
    stand.says("Hello world")
    with ask(stand, stream=False) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    stand.scheduler.is_held = True
    with ask(stand, stream=False):
        requests = [stand.scheduler.expect(Submit).request.request_id for _ in range(2)]
    stand.scheduler.expect_cancel(requests[1])


def until_not_ready(stand: Stand) -> None:
    """The gateway learns from its connection that the engine has gone; the table left behind says ready."""
    while (answer := stand.client.get("/health")).status_code == 200:
        pass
    assert answer.status_code == 503


def test_an_engine_that_goes_away_and_comes_back_is_a_pause(model_path: Path) -> None:
    with Stand(model_path) as stand:
        stand.says_bytes("Hello world")
        stand.scheduler.is_held = True
        body = {"model": MODEL, "prompt": "Hi", "stream": True, "max_tokens": 50}
        with stand.client.stream("POST", "/v1/completions", json=body) as response, ask(stand, stream=False) as waiting:
            for _ in range(2):
                stand.scheduler.expect(Submit)
            stand.scheduler.step()
            chunks = live_events(response)
            first = next(chunks)
            stand.scheduler.stop()
            until_not_ready(stand)
            assert stand.complete().status_code == 503
            stand.scheduler = FakeScheduler(stand.ports)
            stand.says_bytes("Hello world")
            again = [stand.scheduler.expect(Resume).request for _ in range(2)]
            assert [len(request.emitted_ids) for request in again] == [1, 1]
            assert streamed_text([first, *chunks]) == "Hello world"
            assert b"Hello world" in waiting.recv(65536)
        assert stand.client.get("/health").status_code == 200
        assert stand.complete().json()["choices"][0]["text"] == "Hello world"


def test_an_engine_that_does_not_come_back_ends_the_answer_with_an_error(model_path: Path) -> None:
    with Stand(model_path, engine_patience_seconds=0.0) as stand:
        stand.scheduler.is_held = True
        body = {"model": MODEL, "prompt": "Hi", "stream": True}
        with stand.client.stream("POST", "/v1/completions", json=body) as response, ask(stand, stream=False) as waiting:
            for _ in range(2):
                stand.scheduler.expect(Submit)
            stand.scheduler.step()
            chunks = live_events(response)
            assert next(chunks)["choices"][0]["text"]
            stand.scheduler.stop()
            assert [event["error"]["code"] for event in chunks] == ["overloaded"]
            answer = waiting.recv(65536)
            assert answer.startswith(b"HTTP/1.1 503 ") and b"retry-after" in answer.lower()
        stand.scheduler = FakeScheduler(stand.ports)
        stand.scheduler.expect(GatewayHello)


def test_a_scheduler_of_another_version(stand: Stand) -> None:
    stand.scheduler.is_held = True
    with ask(stand, stream=False) as connection:
        stand.scheduler.expect(Submit)
        stand.scheduler.garble()
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503 ") and b"another version" in answer
