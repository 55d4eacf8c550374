"""Finds stop strings in text that arrives in pieces. Pure: text in, text that may be shown out."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Holds back the end of the text as long as it may be the beginning of a stop string.

    The stop string that is complete first wins; of several that end at the same character, the longest. What comes
    out does not depend on how the text was cut into pieces.
    """

    def __init__(self, stops: Sequence[str]):
        self._matchers = [_Matcher(stop) for stop in stops]
        self._held = ""
        self.is_found = False

    def feed(self, piece: str) -> str:
        """The text that is safe to show now. Nothing may be fed after a stop string was found."""
        assert not self.is_found
        if not self._matchers:
            return piece
        text = self._held + piece
        for end, character in enumerate(piece, start=len(self._held) + 1):
            found = [matcher.length for matcher in self._matchers if matcher.is_completed_by(character)]
            if found:
                self.is_found, self._held = True, ""
                return text[: end - max(found)]
        safe = len(text) - max(matcher.matched for matcher in self._matchers)
        self._held = text[safe:]
        return text[:safe]

    def flush(self) -> str:
        """The text held back, once it is known that nothing follows."""
        held, self._held = self._held, ""
        return held


class _Matcher:
    """Knuth–Morris–Pratt: how many characters at the end of the text so far begin one stop string."""

    def __init__(self, stop: str):
        self._stop = stop
        self._fallback = _borders(stop)
        self.length = len(stop)
        self.matched = 0

    def is_completed_by(self, character: str) -> bool:
        while self.matched and self._stop[self.matched] != character:
            self.matched = self._fallback[self.matched - 1]
        if self._stop[self.matched] == character:
            self.matched += 1
        return self.matched == self.length


def _borders(stop: str) -> list[int]:
    """For each prefix of `stop`, the length of its longest proper prefix that is also its suffix."""
    borders = [0] * len(stop)
    length = 0
    for index in range(1, len(stop)):
        while length and stop[index] != stop[length]:
            length = borders[length - 1]
        if stop[index] == stop[length]:
            length += 1
        borders[index] = length
    return borders
