"""What passes between the resident and one who attaches: a length, a manifest, file descriptors. No torch.

The length, four bytes in network order, carries the descriptors with it: the ledger's, then the weights' and the KV
memory's where those are a `memfd`. Afterwards who is attached may say one thing, `CHECK`; the answer is that the
resident stays, or ends.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence

import msgspec

from engine.errors import ProtocolMismatch
from engine.resident.manifest import Manifest
from engine.wire.byte_stream import receive_exactly

CHECK = b"c"
"""Look whether the memory is whole."""

_HUNG_UP = "the resident hung up in the middle of its answer"

_LENGTH = struct.Struct("!I")
_MOST_FDS = 3
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


def send_manifest(connection: socket.socket, manifest: Manifest, fds: Sequence[int]) -> None:
    """Answer one who has connected."""
    payload = msgspec.msgpack.encode(manifest)
    socket.send_fds(connection, [_LENGTH.pack(len(payload))], fds)
    connection.sendall(payload)


def receive_manifest(connection: socket.socket) -> tuple[Manifest, list[int]]:
    """The resident's answer; its descriptors are the caller's to close.

    Raises `ConnectionError` if it hangs up before the end, `ProtocolMismatch` for bytes that are no manifest.
    """
    prefix, fds, _, _ = socket.recv_fds(connection, _LENGTH.size, _MOST_FDS)
    for fd in fds:
        os.set_inheritable(fd, False)  # recv_fds takes flags and, in Python 3.11, drops them
    try:
        prefix += receive_exactly(connection, _LENGTH.size - len(prefix), _HUNG_UP)
        (length,) = _LENGTH.unpack(prefix)
        manifest = msgspec.msgpack.decode(receive_exactly(connection, length, _HUNG_UP), type=Manifest)
        expected = 1 + [manifest.weights_memory.kind, manifest.kv_memory.kind].count("memfd")
        if len(fds) != expected:
            raise ProtocolMismatch(f"The resident's manifest needs {expected} descriptors and {len(fds)} came.")
    except BaseException as error:
        for fd in fds:
            os.close(fd)
        if isinstance(error, msgspec.MsgspecError):
            raise ProtocolMismatch(f"The resident's manifest is not understood: {error}.") from error
        raise
    return manifest, fds


def peer_pid(connection: socket.socket) -> int:
    """The process at the other end, as the kernel noted it when it connected."""
    return _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[0]
