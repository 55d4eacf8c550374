"""No more connections than may be: those beyond are told to come back, and a flood is cut at once."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.gateway.running_gateway import RunningGateway, read_to_end, running_gateway

pytestmark = pytest.mark.system

ASK = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
MOST = 3
MOST_TRIES = 1000


def asked(connection: socket.socket) -> bytes:
    """The whole answer, or what there is of it."""
    connection.sendall(ASK)
    answer = b""
    while not answer.endswith(b"}"):
        data = connection.recv(65536)
        if not data:
            break
        answer += data
    return answer


def test_connections_are_bounded(model_path: Path) -> None:
    with running_gateway(model_path, max_connections=MOST) as gateway:
        served = [gateway.connect() for _ in range(MOST)]
        assert all(asked(connection).startswith(b"HTTP/1.1 200 ") for connection in served)
        for _ in range(MOST):  # beyond the bound, refused, closed, and again
            assert_refused(gateway)
        waiting = [gateway.connect() for _ in range(MOST)]
        with gateway.connect() as flood:
            assert read_to_end(flood) == b""
        for connection in [served.pop(), *waiting]:
            connection.close()
        assert any(is_served(gateway) for _ in range(MOST_TRIES))
        assert all(asked(connection).startswith(b"HTTP/1.1 200 ") for connection in served)
        for connection in served:
            connection.close()


def assert_refused(gateway: RunningGateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(ASK)
        answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 503 ") and b'"code":"overloaded"' in answer
    assert b"retry-after: 1\r\n" in answer.lower() and b"connection: close\r\n" in answer.lower()


def is_served(gateway: RunningGateway) -> bool:
    """The gateway need not have seen yet that others have closed."""
    with gateway.connect() as connection:
        try:
            return asked(connection).startswith(b"HTTP/1.1 200 ")
        except ConnectionError:
            return False
