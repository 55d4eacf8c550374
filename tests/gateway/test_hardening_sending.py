"""Clients that send too slowly, too much, or no HTTP: each is cut off, and told why where it can hear it."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from engine.gateway.connection import MAX_HEADER_BYTES
from engine.wire.to_scheduler import Submit
from tests.gateway.running_gateway import RunningGateway, completion, header, read_to_end, running_gateway
from tests.gateway.stand import KEY, MAX_BODY_BYTES

pytestmark = pytest.mark.system

HALF_A_HEADER = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Half: "
DRIP_SECONDS = 0.02  # far shorter than the timeout of the gateway under test
MOST_DRIPS = 1000


@pytest.fixture(scope="module")
def gateway(model_path: Path) -> Iterator[RunningGateway]:
    with running_gateway(model_path, header_timeout_seconds=0.4) as gateway:
        gateway.scheduler.script = lambda request: [70, 71]
        yield gateway


def refusal(answer: bytes, status: int) -> str:
    """The sentence of an answer that ends its connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"\r\nconnection: close" in head and b"\r\ncontent-type: application/json" in head
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"].endswith(".")
    return error["message"]


def is_cut_while_dripping(connection: socket.socket, drops: Iterator[bytes]) -> bool:
    """Send byte after byte, never silent for long, until the gateway has said or done something about it."""
    for drop, _ in zip(drops, range(MOST_DRIPS), strict=False):
        if select.select([connection], [], [], DRIP_SECONDS)[0]:
            return True
        connection.sendall(drop)
    return False


def test_a_header_that_stops_half_way(gateway: RunningGateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(HALF_A_HEADER)
        assert refusal(read_to_end(connection), 408) == "The request did not arrive in time."


def test_a_connection_that_says_nothing(gateway: RunningGateway) -> None:
    with gateway.connect() as connection:
        assert read_to_end(connection) == b""


def test_a_header_that_drips(gateway: RunningGateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(HALF_A_HEADER)
        assert is_cut_while_dripping(connection, cycle([b"x"]))
        refusal(read_to_end(connection), 408)


def test_a_second_header_that_stops_half_way(gateway: RunningGateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + HALF_A_HEADER)
        first, _, second = read_to_end(connection).rpartition(b"HTTP/1.1 ")
        assert first.startswith(b"HTTP/1.1 200 ") and second.startswith(b"408 ")


def test_a_body_that_stops_half_way(gateway: RunningGateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(header("/v1/completions", 100) + b"{")
        refusal(read_to_end(connection), 408)


def test_a_body_that_drips(gateway: RunningGateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(header("/v1/completions", 10_000))
        assert is_cut_while_dripping(connection, cycle([b" "]))
        refusal(read_to_end(connection), 408)


def test_a_long_answer_is_no_slow_request(gateway: RunningGateway) -> None:
    """Time is told by another connection, which is cut when the bound has passed."""
    gateway.scheduler.is_held = True
    with gateway.connect() as connection, gateway.connect() as other:
        connection.sendall(completion(stream=True, close=True))
        gateway.scheduler.expect(Submit)
        other.sendall(HALF_A_HEADER)
        refusal(read_to_end(other), 408)
        gateway.scheduler.is_held = False
        gateway.scheduler.step()
        assert read_to_end(connection).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_half_a_header_behind_a_request_does_not_cut_its_answer(gateway: RunningGateway) -> None:
    gateway.scheduler.is_held = True
    with gateway.connect() as connection, gateway.connect() as other:
        connection.sendall(completion(stream=True) + HALF_A_HEADER)
        gateway.scheduler.expect(Submit)
        for _ in range(2):  # twice the bound
            with gateway.connect() as other:
                other.sendall(HALF_A_HEADER)
                refusal(read_to_end(other), 408)
        gateway.scheduler.is_held = False
        gateway.scheduler.step()
        answer, _, second = read_to_end(connection).rpartition(b"HTTP/1.1 ")
        assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") and second.startswith(b"408 ")


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_a_header_that_is_too_large(gateway: RunningGateway, end: bytes) -> None:
    with gateway.connect() as connection:
        connection.sendall(HALF_A_HEADER + b"x" * MAX_HEADER_BYTES + end)
        assert "65536 bytes" in refusal(read_to_end(connection), 431)


def test_a_header_without_end(gateway: RunningGateway) -> None:
    """It is cut off while it is still being sent."""
    with gateway.connect() as connection:
        connection.sendall(HALF_A_HEADER)
        assert is_ended_by_peer(connection, b"x" * MAX_HEADER_BYTES)


@pytest.mark.parametrize(
    "start",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_is_no_http(gateway: RunningGateway, start: bytes) -> None:
    with gateway.connect() as connection:
        connection.sendall(start)
        assert refusal(read_to_end(connection), 400) == "This is no HTTP request that can be understood."


def test_garbage_behind_a_request_does_not_mix_with_its_answer(gateway: RunningGateway) -> None:
    gateway.scheduler.is_held = True
    with gateway.connect() as connection:
        connection.sendall(completion(stream=True))
        submitted = gateway.scheduler.expect(Submit)
        gateway.scheduler.step()
        seen = connection.recv(65536)
        assert seen.startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"\0garbage\r\n\r\n")
        seen += read_to_end(connection)
        gateway.scheduler.expect_cancel(submitted.request.request_id)
    gateway.scheduler.is_held = False
    assert seen.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("key", [KEY, "wrong"])
def test_what_still_comes_after_a_refused_body_is_not_taken_in_for_ever(gateway: RunningGateway, key: str) -> None:
    chunk = b"%x\r\n%s\r\n" % (MAX_BODY_BYTES + 1, b" " * (MAX_BODY_BYTES + 1))
    with gateway.connect() as connection:
        connection.sendall(
            f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
            + chunk
        )
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 " if key == KEY else b"HTTP/1.1 401 ")
        assert is_ended_by_peer(connection, chunk)


def is_ended_by_peer(connection: socket.socket, chunk: bytes) -> bool:
    """Keep sending until it is no longer possible."""
    for _ in range(MOST_DRIPS):
        readable = select.select([connection], [], [], DRIP_SECONDS)[0]
        try:
            if readable and not connection.recv(65536):
                return True
            connection.sendall(chunk)
        except ConnectionError:
            return True
    return False


def test_the_bodies_of_other_media_types(gateway: RunningGateway) -> None:
    with gateway.client() as client:
        for headers in ({"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}):
            response = client.post("/v1/completions", content=b"{}", headers=headers)
            assert response.status_code == 415
            assert response.json()["error"]["code"] == "unsupported_media_type"
        good = {"Content-Type": "Application/JSON; charset=utf-8", "Content-Encoding": "identity"}
        assert client.post("/v1/completions", content=b"{}", headers=good).status_code == 400


def test_a_hundred_half_headers_harm_nobody(gateway: RunningGateway) -> None:
    connections = [gateway.connect() for _ in range(100)]
    for connection in connections:
        connection.sendall(HALF_A_HEADER)
    with gateway.client() as client:
        assert client.get("/health").status_code == 200
    for connection in connections:
        refusal(read_to_end(connection), 408)
        connection.close()
