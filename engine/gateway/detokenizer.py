"""Tokens to text, one token at a time, right at every byte boundary. Knows nothing of requests."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

_UTF8 = codecs.getincrementaldecoder("utf-8")


class Detokenizer:
    """The text of one answer as a continuation of its prompt: a leading space belongs to it.

    A character whose bytes are spread over tokens comes with its last byte; bytes that are no UTF-8 become U+FFFD.
    """

    def __init__(self, pieces: Sequence[bytes]):
        self._pieces = pieces
        self._decoder = _UTF8(errors="replace")

    def feed(self, token_id: int) -> str:
        """The characters that this token completes; none for a special token or an id without text."""
        return self._decoder.decode(self._pieces[token_id]) if token_id < len(self._pieces) else ""

    def flush(self) -> str:
        """U+FFFD where the text ends inside a character, else nothing."""
        return self._decoder.decode(b"", final=True)
