"""Bytes of a message: one version byte, then msgpack of a tagged struct."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from engine.errors import ProtocolMismatch

PROTOCOL_VERSION = 1
_PREFIX = bytes([PROTOCOL_VERSION])

M = TypeVar("M")


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Base of all messages: a msgpack array whose first element names the type."""


class Codec(Generic[M]):
    """Encodes any message, decodes those one receiver understands.

    `decode` raises `ProtocolMismatch` for another version or for bytes that are no message of this receiver.
    """

    def __init__(self, receives: Any):
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(receives)

    def encode(self, message: Message) -> bytes:
        return _PREFIX + self._encoder.encode(message)

    def decode(self, data: bytes | memoryview) -> M:
        if data[:1] != _PREFIX:
            version = data[0] if len(data) else "nothing"
            raise ProtocolMismatch(f"A peer speaks wire protocol {version}, this process speaks {PROTOCOL_VERSION}.")
        try:
            return self._decoder.decode(memoryview(data)[1:])
        except msgspec.MsgspecError as error:
            raise ProtocolMismatch(f"A peer sent a message that is not understood: {error}.") from error
