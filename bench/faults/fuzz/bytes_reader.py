"""From bytes that a fuzzer makes up to values: the same bytes give the same value, and each byte changes little of it.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

MOST_ITEMS = 6
DEEPEST = 6
_NUMBERS = (0, 1, -1, 2, 127, 255, 65536, 2**31 - 1, -(2**31), 2**53, 2**63, 10**30, 0.5, -0.0, 1e-300, 1e308)
_TEXTS = ("", "a", "é", "🙂", "\x00", "\\", '"', "\n", "{", "}", "[", "\ufffd", "ﬀ" * 9, "x" * 300)


class BytesReader:
    """Reads on until there are no more bytes; from then on everything is the first choice."""

    def __init__(self, data: bytes):
        self._data = data
        self._at = 0

    @property
    def is_over(self) -> bool:
        return self._at >= len(self._data)

    def number(self, end: int) -> int:
        """From 0 to below `end`, which is 256 at most."""
        if self.is_over:
            return 0
        self._at += 1
        return self._data[self._at - 1] % end

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[self.number(len(choices))]

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def rest(self) -> bytes:
        return self.take(len(self._data))

    def text(self, words: Sequence[str]) -> str:
        """A word, something difficult, or made up. No lone surrogates: JSON's reader lets none in."""
        match self.number(4):
            case 0 | 1:
                return self.one_of(words)
            case 2:
                return self.one_of(_TEXTS)
            case _:
                return self.take(self.number(24)).decode(errors="replace")

    def value(self, words: Sequence[str], depth: int = DEEPEST) -> Any:
        """A JSON value whose keys and texts are mostly `words`."""
        match self.number(10 if depth else 6):
            case 0:
                return None
            case 1:
                return bool(self.number(2))
            case 2:
                return self.number(256)
            case 3:
                return self.one_of(_NUMBERS)
            case 4 | 5:
                return self.text(words)
            case 6 | 7:
                return [self.value(words, depth - 1) for _ in range(self.number(MOST_ITEMS))]
            case _:
                return self.fields(words, depth)

    def fields(self, words: Sequence[str], depth: int = DEEPEST) -> dict[str, Any]:
        return {self.text(words): self.value(words, depth - 1) for _ in range(self.number(MOST_ITEMS))}

    def changed(self, value: Any, words: Sequence[str]) -> Any:
        """`value` with one of its parts, however deep, replaced, removed or doubled, a few times."""
        for _ in range(self.number(4)):
            value = self._changed(value, words)
        return value

    def _changed(self, value: Any, words: Sequence[str]) -> Any:
        if isinstance(value, dict) and value and self.number(5):
            key = self.one_of(sorted(value))
            match self.number(4):
                case 0:
                    return {name: other for name, other in value.items() if name != key}
                case 1:
                    return {**value, self.text(words): self.value(words, 3)}
                case _:
                    return {**value, key: self._changed(value[key], words)}
        if isinstance(value, list) and value and self.number(5):
            at = self.number(min(len(value), 256))
            return [*value[:at], self._changed(value[at], words), *value[at + self.number(2) :]]
        return self.value(words, 3)
