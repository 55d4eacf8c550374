"""A server that answers as its script says, for what a real gateway does not do on demand."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable
from typing import Self

from bench.endpoint import Endpoint

Script = Callable[[int], list[bytes]]
"""Number of the request, from 0 → the pieces of its answer. After the last the connection is closed."""


class SmallServer:
    """On a port of its own, a thread a connection."""

    def __init__(self, script: Script):
        self._script = script
        self._lock = threading.Lock()
        self.requests: list[bytes] = []
        server = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                server._answer(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", "127.0.0.1", self._server.server_address[1], False, None, "key", "/v1", "tiny")

    def _answer(self, connection) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        missing = (int(lengths[0].partition(b":")[2]) if lengths else 0) - len(body)
        while missing > 0:
            more = connection.recv(65536)
            body, missing = body + more, missing - len(more)
        with self._lock:
            number = len(self.requests)
            self.requests.append(head + b"\r\n\r\n" + body)
        for piece in self._script(number):
            connection.sendall(piece)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
