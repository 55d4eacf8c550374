"""The other end of the resident's socket: what to map, and a connection that ends with the resident. No torch."""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import time
from typing import TYPE_CHECKING, Self

from engine.errors import SemiPDError
from engine.resident.handshake import CHECK, receive_manifest
from engine.resident.manifest import Manifest
from engine.storage.ledger import Ledger

if TYPE_CHECKING:
    import torch

    from engine.device.device import Device

_RETRY_SECONDS = 0.02
_ANSWER_SECONDS = 10.0


class ResidentGone(SemiPDError):
    """No resident answers, or it went away while it did."""


class Attachment:
    """What the resident has told. `close` ends the connection and its descriptors; what was mapped stays mapped."""

    def __init__(self, connection: socket.socket, manifest: Manifest, fds: list[int]):
        self.socket = connection
        """Becomes readable when the resident is gone, never before."""
        self.manifest = manifest
        rest = iter(fds)
        self._ledger_fd = next(rest)
        self._weights_fd = next(rest) if manifest.weights_memory.kind == "memfd" else None
        self._kv_fd = next(rest) if manifest.kv_memory.kind == "memfd" else None
        self._fds = fds

    def ledger(self) -> Ledger:
        """The page ledger, shared and writable."""
        return Ledger.open(mmap.mmap(self._ledger_fd, self.manifest.ledger_bytes, flags=mmap.MAP_SHARED))

    def map_weights(self, device: Device) -> torch.Tensor:
        """The weights' bytes: uint8, shared."""
        return device.map(self.manifest.weights_memory, self._weights_fd)

    def map_kv(self, device: Device) -> torch.Tensor:
        """The KV cache's bytes: uint8, shared."""
        return device.map(self.manifest.kv_memory, self._kv_fd)

    def ask_for_check(self) -> None:
        """Have the resident look whether its memory is whole; if it is not, it ends. Does not wait for that."""
        with contextlib.suppress(OSError):  # it is gone: who waits for its end hears of that
            self.socket.send(CHECK, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def close(self) -> None:
        """Detach. May be called again."""
        self.socket.close()
        while self._fds:
            os.close(self._fds.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def attach(path: str, timeout: float) -> Attachment:
    """Connect to the resident, waiting up to `timeout` seconds for one that is still loading. Raises `ResidentGone`."""
    connection = _connect(path, time.monotonic() + timeout)
    try:
        connection.settimeout(_ANSWER_SECONDS)
        manifest, fds = receive_manifest(connection)
        connection.settimeout(None)
    except OSError as error:
        connection.close()
        raise ResidentGone(f"The resident at {path} did not finish its answer: {error}.") from error
    except SemiPDError:
        connection.close()
        raise
    return Attachment(connection, manifest, fds)


def _connect(path: str, deadline: float) -> socket.socket:
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
            return connection
        except (FileNotFoundError, ConnectionRefusedError) as error:
            connection.close()
            if time.monotonic() >= deadline:
                raise ResidentGone(f"No resident answers at {path}: {error.strerror}.") from error
            time.sleep(_RETRY_SECONDS)
