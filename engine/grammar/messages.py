"""What the gateway and its compile process say to each other: a length, then bytes; a schema there, this back."""

from __future__ import annotations

import struct

import msgspec

LENGTH = struct.Struct("=I")
READY = b"+"
"""The process's first byte: the vocabulary is loaded."""


class Compiled(msgspec.Struct, frozen=True):
    """The grammar as requests carry it, or the sentence that says why there is none."""

    grammar: bytes = b""
    problem: str = ""
