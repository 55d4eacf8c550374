"""Whole messages from a stream socket, which hands over as much as has come."""

from __future__ import annotations

import socket


def receive_exactly(connection: socket.socket, count: int, complaint: str) -> bytes:
    """`count` bytes. Raises `ConnectionResetError` with `complaint` if the other end hangs up before."""
    received = bytearray()
    while len(received) < count:
        part = connection.recv(count - len(received))
        if not part:
            raise ConnectionResetError(complaint)
        received += part
    return bytes(received)
