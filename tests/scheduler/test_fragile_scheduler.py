"""A request that ends two schedulers in a row ends with an error before it ends the third. Real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from engine.config import PortArgs
from engine.request import Request, SamplingParams
from engine.scheduler.suspicion import MAX_IMPLICATED, REASON
from engine.storage.ledger import Ledger
from engine.wire.codec import Message
from engine.wire.to_gateway import TO_GATEWAY, Failed, Refused
from engine.wire.to_scheduler import FROM_GATEWAY, GatewayHello, Resume, Submit
from tests.scheduler.fragile_scheduler import FATAL, ledger_file

PATIENCE_SECONDS = 60


@contextmanager
def scheduler(ports: PortArgs) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.scheduler.fragile_scheduler", str(ports.runtime_dir)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def gateway(ports: PortArgs) -> Iterator[zmq.Socket]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(ports.gateway_address)
        say(socket, GatewayHello(os.getpid()))
        yield socket
        socket.close(0)


def say(socket: zmq.Socket, message: Message) -> None:
    socket.send(FROM_GATEWAY.encode(message))


def hear(socket: zmq.Socket) -> Message:
    assert socket.poll(PATIENCE_SECONDS * 1000), "no answer"
    return TO_GATEWAY.decode(socket.recv())


def request(number: int) -> Request:
    return Request(number, [1, 2, 3], SamplingParams(max_tokens=4))


def test_the_third_scheduler_refuses_what_ended_two_and_lives_on(runtime_dir: Path) -> None:
    ports = PortArgs(runtime_dir)
    memory = bytearray(Ledger.bytes_for(9))
    Ledger.create(memory, 9)
    ledger_file(runtime_dir).write_bytes(memory)
    for _ in range(MAX_IMPLICATED):
        with scheduler(ports) as process, gateway(ports) as socket:
            say(socket, Resume(request(FATAL)))
            assert "ZeroDivisionError" in process.communicate(timeout=PATIENCE_SECONDS)[1]
    with scheduler(ports) as process, gateway(ports) as socket:
        say(socket, Resume(request(FATAL)))
        assert hear(socket) == Failed(FATAL, REASON)
        say(socket, Submit(request(6)))
        answer = hear(socket)
        assert isinstance(answer, Refused) and answer.request_id == 6, "there are no workers, but somebody who says so"
        assert process.poll() is None
