"""Messages on a Unix stream socket: a length, then the bytes; file descriptors travel with the length. No torch."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import TypeVar

from engine.errors import ProtocolMismatch
from engine.storage.messages import FROM_STORE, TO_STORE, Answer, Question, Refused
from engine.storage.refusals import StoreGone, refusal
from engine.wire.byte_stream import receive_exactly

_HUNG_UP = "it hung up"

_LENGTH = struct.Struct("!I")
_MOST_BYTES = 64 << 20

A = TypeVar("A", bound=Answer)


class Inbox:
    """Cuts what has been received into messages. Raises `ProtocolMismatch` for one that is too long to be ours."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def take(self, received: bytes) -> Iterator[bytes]:
        """The messages that are complete now."""
        self._bytes += received
        while len(self._bytes) >= _LENGTH.size:
            end = _LENGTH.size + _length(self._bytes)
            if len(self._bytes) < end:
                return
            message = bytes(self._bytes[_LENGTH.size : end])
            del self._bytes[:end]
            yield message


def send(connection: socket.socket, message: bytes, fds: Sequence[int] = ()) -> None:
    """One message, wholly."""
    prefix = _LENGTH.pack(len(message))
    if fds:
        socket.send_fds(connection, [prefix], fds)
        connection.sendall(message)
    else:
        connection.sendall(prefix + message)


def ask(connection: socket.socket, question: Question, expected: type[A]) -> tuple[A, int | None]:
    """The store's answer, and a descriptor, the caller's to close, where one came with it.

    Raises `StoreGone`, or what the store refused.
    """
    payload, fd = _exchange(connection, TO_STORE.encode(question))
    answer = FROM_STORE.decode(payload)
    if isinstance(answer, Refused):
        raise refusal(answer.kind, answer.sentence)
    if not isinstance(answer, expected):
        raise ProtocolMismatch(f"The block store answered {type(question).__name__} with {type(answer).__name__}.")
    return answer, fd


def connect(address: str) -> socket.socket:
    """A connection to the store at `address`. Raises `StoreGone`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(address)
    except OSError as error:
        connection.close()
        raise StoreGone(f"No block store answers at {address}: {error.strerror or error}.") from error
    return connection


def _exchange(connection: socket.socket, message: bytes) -> tuple[bytes, int | None]:
    try:
        with contextlib.suppress(OSError):  # a store that could not start has said why before it hung up
            send(connection, message)
        return _receive(connection)
    except OSError as error:
        raise StoreGone(f"The block store has ended: {error.strerror or error}.") from error
    except BaseException:
        connection.close()  # interrupted half-way: the answer to this question must not be taken for the next one's
        raise


def _receive(connection: socket.socket) -> tuple[bytes, int | None]:
    prefix, fds, _, _ = socket.recv_fds(connection, _LENGTH.size, 1)
    for fd in fds:
        os.set_inheritable(fd, False)  # recv_fds takes flags and, in Python 3.11, drops them
    try:
        prefix += receive_exactly(connection, _LENGTH.size - len(prefix), _HUNG_UP)
        return receive_exactly(connection, _length(prefix), _HUNG_UP), fds[0] if fds else None
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


def _length(prefix: bytes | bytearray) -> int:
    (length,) = _LENGTH.unpack_from(prefix)
    if length > _MOST_BYTES:
        raise ProtocolMismatch(f"A peer announced a message of {length} bytes, the longest has {_MOST_BYTES}.")
    return length
