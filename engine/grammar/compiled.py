"""What the compile process answers to a schema's JSON."""

from __future__ import annotations

import msgspec


class Compiled(msgspec.Struct, frozen=True):
    """The grammar as requests carry it, or the sentence that says why there is none."""

    grammar: bytes = b""
    problem: str = ""
