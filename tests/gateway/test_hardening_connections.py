"""No more connections than may be: who asks nothing makes room, and where all are busy a flood is cut at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from engine.config import ServerArgs
from engine.gateway.serve import bounds_of
from engine.wire.to_scheduler import Submit
from tests.gateway.running_gateway import RunningGateway, completion, read_to_end, running_gateway
from tests.gateway.stand import MODEL

pytestmark = pytest.mark.system

ASK = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
HALF_A_HEADER = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Half: "
MOST = 3
MOST_TRIES = 1000
FEW_FILES = 300


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


@contextmanager
def busy(gateway: RunningGateway, count: int) -> Iterator[list[socket.socket]]:
    """Connections whose answers have begun, and wait for the scheduler."""
    gateway.scheduler.is_held = True
    with ExitStack() as ends:
        connections = [ends.enter_context(gateway.connect()) for _ in range(count)]
        for connection in connections:
            connection.sendall(completion(stream=True, close=True))
            gateway.scheduler.expect(Submit)
        yield connections


def test_connections_are_bounded(model_path: Path) -> None:
    with running_gateway(model_path, max_connections=MOST) as gateway, busy(gateway, MOST) as served:
        for _ in range(MOST):  # beyond the bound, refused, closed, and again
            assert_refused(gateway)
        waiting = [gateway.connect() for _ in range(MOST)]
        with gateway.connect() as flood:
            assert read_to_end(flood) == b""
        for connection in waiting:
            connection.close()
        gateway.scheduler.is_held = False
        gateway.scheduler.step()
        assert all(read_to_end(connection).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for connection in served)
        assert any(is_served(gateway) for _ in range(MOST_TRIES))


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


def test_the_longest_without_a_request_makes_room(model_path: Path) -> None:
    """Whether it has said nothing yet, half a header, or nothing more."""
    with running_gateway(model_path, max_connections=4, header_timeout_seconds=600) as gateway, ExitStack() as ends:
        (stream,) = ends.enter_context(busy(gateway, 1))
        half, silent, idle = (ends.enter_context(gateway.connect()) for _ in range(3))
        half.sendall(HALF_A_HEADER)
        assert asked(idle).startswith(b"HTTP/1.1 200 ")
        for number, quiet in enumerate((half, silent, idle)):
            newcomer = ends.enter_context(gateway.connect())
            assert asked(newcomer).startswith(b"HTTP/1.1 200 "), number
            assert read_to_end(quiet) == b"", number
        gateway.scheduler.is_held = False
        gateway.scheduler.step()
        assert read_to_end(stream).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_a_flood_that_says_nothing_keeps_nobody_out(model_path: Path) -> None:
    """Far more than the gateway may open files, of which it keeps some for itself."""
    few_files = ("sh", "-c", f'ulimit -n {FEW_FILES} && exec "$@"', "sh")
    with running_gateway(model_path, wrapper=few_files, header_timeout_seconds=600) as gateway, ExitStack() as ends:
        for _ in range(2 * FEW_FILES):
            ends.enter_context(gateway.connect())
        with gateway.client() as client:
            assert client.post("/v1/completions", json={"model": MODEL, "prompt": "Hi"}).status_code == 200
        assert psutil.Process(gateway.worker_pids[0]).num_fds() < FEW_FILES - 100
        assert "Open files are enough for 86 connections at once" in gateway.log_path.read_text()


@pytest.mark.parametrize(("files", "connections"), [(1 << 20, 4096), (1024, 448), (100, 1)])
def test_connections_leave_files_for_the_worker_itself(files: int, connections: int) -> None:
    assert bounds_of(ServerArgs(), files).max_connections == connections
