"""The gateway as it is served: its own process under gunicorn, with settings of the test's choice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from engine.config import PortArgs
from engine.scheduler.load_table import LoadSnapshot
from engine.wire.to_scheduler import GatewayHello
from tests.gateway.fake_scheduler import READY, FakeScheduler
from tests.gateway.stand import KEY, MODEL, make_ports

PATIENCE_SECONDS = 30.0
"""For what must come; a test that waits this long has failed."""


@dataclass(frozen=True)
class RunningGateway:
    """`worker_pids` in the order in which the workers said hello."""

    ports: PortArgs
    scheduler: FakeScheduler
    worker_pids: list[int]
    port: int
    log_path: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        """A client with a valid key."""
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx.Client(
            base_url=self.url, **{"headers": headers, "timeout": PATIENCE_SECONDS, "trust_env": False, **options}
        )

    def connect(self, receive_buffer_bytes: int | None = None) -> socket.socket:
        """A connection of the test's own; the small buffer makes the kernel take in little that is not read."""
        connection = socket.socket()
        connection.settimeout(PATIENCE_SECONDS)
        if receive_buffer_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        connection.connect(("127.0.0.1", self.port))
        return connection


@contextmanager
def running_gateway(
    model_path: Path,
    load: LoadSnapshot = READY,
    step_seconds: float = 0.0,
    wrapper: Sequence[str] = (),
    **settings: Any,
) -> Iterator[RunningGateway]:
    """One gateway and the fake scheduler it talks to, both ended afterwards; `wrapper` is a command that becomes it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    ports = make_ports(model_path, port=port, **settings)
    log_path = ports.runtime_dir / "log"
    with FakeScheduler(ports, load, step_seconds) as scheduler, log_path.open("w") as log:
        command = [*wrapper, sys.executable, "-m", "engine.gateway", str(ports.runtime_dir)]
        with subprocess.Popen(command, stderr=log, process_group=0) as process:
            try:
                count = ports.read_settings().gateway_workers
                pids = [scheduler.expect(GatewayHello).pid for _ in range(count)]
                yield RunningGateway(ports, scheduler, pids, port, log_path)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
    shutil.rmtree(ports.runtime_dir)


def completion(*, close: bool = False, **fields: Any) -> bytes:
    """A whole request, as bytes."""
    body = json.dumps({"model": MODEL, "prompt": "Hi", **fields}).encode()
    return header("/v1/completions", len(body), close=close) + body


def header(path: str, content_length: int, *, close: bool = False) -> bytes:
    """A POST without its body."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {KEY}", f"Content-Length: {content_length}"]
    return "\r\n".join([*lines, *(["Connection: close"] if close else []), "\r\n"]).encode()


def read_to_end(connection: socket.socket) -> bytes:
    """What comes until the connection is closed, in whichever way."""
    received = bytearray()
    while True:
        try:
            data = connection.recv(65536)
        except ConnectionResetError:
            return bytes(received)
        if not data:
            return bytes(received)
        received += data
