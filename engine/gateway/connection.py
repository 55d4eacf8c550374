"""One client connection, bounded in time and size where uvicorn's own protocol is not. Knows nothing of what is served.

uvicorn ends a connection that is idle between two requests and stops writing while its send buffer is full. It has no
bound on how long a header, a body or the reading of an answer may take, nor on how long a header may be.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from enum import Enum, auto
from http import HTTPStatus
from typing import NamedTuple

import httptools
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from engine.errors import Overloaded
from engine.gateway.errors import closing_answer, error_response

log = logging.getLogger("uvicorn.error")  # the server's own log: one place to look

MAX_HEADER_BYTES = 64 * 1024
FAREWELL_SECONDS = 1.0
_SLOWEST_BODY = 1000  # bytes a second, on average: a body that drips is no better than one that stalls
_RETRY_SECONDS = 1
_RESET = struct.pack("ii", 1, 0)  # struct linger: on, for no time


class Bounds(NamedTuple):
    """`max_connections` may be open at once. With one more, the one that has been without a request for longest makes
    room; where all have one, as many again are told to come back, and any more are cut at once.

    `header_seconds`: from the connection, or from a header's first byte, to its last; also the longest silence within
    a body, and how long the rest of a body is taken in once it has been answered. `reader_seconds`: how long a full
    send buffer may stay full.
    """

    max_connections: int
    header_seconds: float
    reader_seconds: float


class _Stage(Enum):
    HEADER = auto()
    BODY = auto()
    COMPLETE = auto()


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with a clock and a scale. A request that comes in one piece costs no timer.

    `quiet`: those of this process whose next request's header has not arrived; the longest quiet first.
    """

    bounds: Bounds
    quiet: dict[Connection, None]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._stage = _Stage.HEADER
        self._stage_began = self._heard_at = self.loop.time()
        self._stage_bytes = 0
        self._is_answered_early = False
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._farewell: asyncio.TimerHandle | None = None
        if len(self.connections) > self.bounds.max_connections and not self._is_given_room():
            if len(self.connections) > 2 * self.bounds.max_connections:
                transport.abort()
                return
            self.app = _too_many_connections
        self._be_quiet()
        self._watch_reading()

    def _be_quiet(self) -> None:
        """One that is only told to come back has no room to give."""
        if self.app is not _too_many_connections:
            self.quiet[self] = None

    def _is_given_room(self) -> bool:
        """Whoever connects and says nothing must not keep out who has something to ask."""
        longest = next(iter(self.quiet), None)
        if longest is None:
            return False
        del self.quiet[longest]
        longest.transport.close()
        longest._watch_writing()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.quiet.pop(self, None)
        for timer in (self._read_timer, self._write_timer, self._farewell):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    # ── what the client sends ───────────────────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        self._stage_bytes += len(data)
        self._heard_at = self.loop.time()
        super().data_received(data)
        if self._stage is _Stage.HEADER and self._stage_bytes > MAX_HEADER_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _HEADER_TOO_LARGE)
        elif self._stage is not _Stage.COMPLETE:
            self._watch_reading()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._stage is _Stage.COMPLETE:
            self._enter(_Stage.HEADER)
            self._stage_bytes = 1

    def on_headers_complete(self) -> None:
        self.quiet.pop(self, None)
        self._enter(_Stage.BODY)
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEADER_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _HEADER_TOO_LARGE)
            raise httptools.HttpParserError(_HEADER_TOO_LARGE)  # the way out of the parser
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._enter(_Stage.COMPLETE)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._stage is _Stage.BODY:
            self._is_answered_early = True
            self._stage_began = self.loop.time()
        if self.transport.is_closing():
            self._watch_writing()  # what is still in the buffer keeps it open
        elif self.cycle.response_complete:  # or else the next request, which came early, is being answered
            self._be_quiet()

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, "This is no HTTP request that can be understood.")

    def _enter(self, stage: _Stage) -> None:
        self._stage = stage
        self._stage_began = self.loop.time()
        self._stage_bytes = 0
        self._is_answered_early = False

    def _watch_reading(self) -> None:
        if self._read_timer is None and not self.transport.is_closing():
            self._read_timer = self.loop.call_at(self._reading_is_due, self._check_reading)

    def _check_reading(self) -> None:
        self._read_timer = None
        if self._stage is _Stage.COMPLETE or self.transport.is_closing():
            return
        if self.flow.read_paused or self._is_answering:  # it is we who do not listen
            self._heard_at = self._stage_began = self.loop.time()
        if self.loop.time() < self._reading_is_due:
            self._watch_reading()
        elif self._is_answered_early or (self._stage is _Stage.HEADER and not self._stage_bytes):
            self.transport.abort()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive in time.")

    @property
    def _reading_is_due(self) -> float:
        seconds = self.bounds.header_seconds
        if self._stage is _Stage.HEADER or self._is_answered_early:
            return self._stage_began + seconds
        return min(self._heard_at, self._stage_began + self._stage_bytes / _SLOWEST_BODY) + seconds

    @property
    def _is_answering(self) -> bool:
        """A client may send the next header early; the answer that it reads goes on."""
        return self._stage is _Stage.HEADER and self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Say why, if nothing else is being said on this connection, and end it."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(closing_answer(status, sentence))
        self.transport.close()
        self._watch_writing()

    # ── what the client reads ───────────────────────────────────────────────────────────────────────────────────────

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None and not self.transport.is_closing():
            self._write_timer.cancel()
            self._write_timer = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch_writing()

    def shutdown(self) -> None:
        """Who has just connected is about to ask, and would find the connection reset: it is given a moment."""
        if self.cycle is None and not self.transport.is_closing():
            self._farewell = self.loop.call_later(FAREWELL_SECONDS, self._part)
        else:
            self._part()

    def _part(self) -> None:
        super().shutdown()
        if self.transport.is_closing():
            self._watch_writing()

    def _watch_writing(self) -> None:
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.bounds.reader_seconds, self._cut_reader)

    def _cut_reader(self) -> None:
        """Its request is cancelled as if it had left: what waits in the buffers is dropped."""
        log.warning("A client that did not read was cut off: %s.", self.client)
        socket_of_client = self.transport.get_extra_info("socket")
        socket_of_client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)  # nor may the kernel keep it
        self.transport.abort()


def bounded(bounds: Bounds) -> type[Connection]:
    """The protocol class to give to uvicorn."""

    class BoundedConnection(Connection):
        pass

    BoundedConnection.bounds = bounds
    BoundedConnection.quiet = {}
    return BoundedConnection


_HEADER_TOO_LARGE = f"The request's header is larger than {MAX_HEADER_BYTES} bytes."


async def _too_many_connections(scope: Scope, receive: Receive, send: Send) -> None:
    error = Overloaded("Too many connections are open.", retry_after_seconds=_RETRY_SECONDS)
    response = error_response(error)
    response.headers["connection"] = "close"
    await response(scope, receive, send)
