"""The resident's door: a Unix socket that answers everyone with the manifest and knows who is attached. No torch."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from engine.errors import CannotStart
from engine.resident.handshake import CHECK, peer_pid, send_manifest
from engine.resident.manifest import Manifest

_SEND_SECONDS = 5.0


class Reception:
    """Listens from when it is built until it is closed. Raises `CannotStart` where another resident listens already.

    `check` is called when somebody attached wants to know whether the memory is whole: what it raises ends `turn`.
    """

    def __init__(
        self, path: str, manifest: Manifest, fds: Sequence[int], log: Any, check: Callable[[], None] = lambda: None
    ):
        self._path = path
        self._manifest = manifest
        self._fds = fds
        self._log = log
        self._check = check
        self._attached: dict[socket.socket, int] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = _listen(path)
        self._selector.register(self._listener, selectors.EVENT_READ)

    @property
    def attached_pids(self) -> list[int]:
        """Who is attached, one entry a connection."""
        return list(self._attached.values())

    def run(self) -> None:
        """Answer for ever."""
        while True:
            self.turn()

    def turn(self) -> None:
        """Wait until somebody comes or goes, and see to it."""
        for key, _ in self._selector.select():
            if key.fileobj is self._listener:
                self._welcome(self._listener.accept()[0])
            else:
                assert isinstance(key.fileobj, socket.socket)
                self._hear(key.fileobj)

    def close(self) -> None:
        """Leave no socket behind: whoever attaches from now on learns at once that nobody is there."""
        Path(self._path).unlink(missing_ok=True)
        for connection in [self._listener, *self._attached]:
            connection.close()
        self._attached.clear()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _welcome(self, connection: socket.socket) -> None:
        pid = peer_pid(connection)
        connection.settimeout(_SEND_SECONDS)  # one who does not read must not keep the others waiting
        try:
            send_manifest(connection, self._manifest, self._fds)
        except OSError as error:
            self._log.warning("not attached", peer=pid, reason=str(error))
            connection.close()
            return
        self._attached[connection] = pid
        self._selector.register(connection, selectors.EVENT_READ)
        self._log.info("attached", peer=pid)

    def _hear(self, connection: socket.socket) -> None:
        """What can be read is the end of one who was attached, or asks for a look at the memory."""
        said = b""
        with contextlib.suppress(ConnectionError):
            said = connection.recv(4096)
        if CHECK in said:
            self._check()
            self._log.info("memory checked", peer=self._attached[connection])
        if said:
            return
        self._selector.unregister(connection)
        connection.close()
        self._log.info("detached", peer=self._attached.pop(connection))


def _listen(path: str) -> socket.socket:
    _remove_leftover(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)  # the socket is 0600 from its first moment
    try:
        listener.bind(path)
    finally:
        os.umask(mask)
    listener.listen()
    return listener


def _remove_leftover(path: str) -> None:
    """A resident that was killed leaves its socket; one that still listens is not pushed aside."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            Path(path).unlink()
            return
    raise CannotStart(f"Another resident listens at {path} already.")
