"""A prefill order that is computed in several steps: where it is cut, and what its parts have drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from engine.model.segment import Drawn, Segment


class Pieces:
    """The segments of one order. What a segment draws, it draws with its last token."""

    def __init__(self, segments: Sequence[Segment]):
        self._rest = list(segments)
        self._completed = 0
        self.steps = 0
        self.drawn: list[Drawn | None] = []
        self.seconds = 0.0
        self.borrowed_seconds = 0.0

    @property
    def is_over(self) -> bool:
        return not self._rest

    @property
    def token_count(self) -> int:
        """Of what is left."""
        return sum(len(segment.token_ids) for segment in self._rest)

    def take(self, most_tokens: int) -> list[Segment]:
        """The next step's segments, at least one token; `computed` must follow."""
        before = len(self._rest)
        piece, self._rest = cut(self._rest, most_tokens)
        self._completed = before - len(self._rest)
        return piece

    def computed(self, drawn: Sequence[Drawn | None], seconds: float, borrowed: bool) -> None:
        """What the step of the latest piece has drawn: of a segment that was cut, nothing."""
        self.steps += 1
        self.drawn += drawn[: self._completed]
        self.seconds += seconds
        self.borrowed_seconds += seconds if borrowed else 0.0


def cut(segments: Sequence[Segment], most_tokens: int) -> tuple[list[Segment], list[Segment]]:
    """The first `most_tokens` tokens, and the rest. The beginning of a segment that is cut draws nothing."""
    piece, rest = list[Segment](), deque(segments)
    while rest and len(rest[0].token_ids) <= most_tokens:
        most_tokens -= len(rest[0].token_ids)
        piece.append(rest.popleft())
    if rest and most_tokens:
        whole = rest.popleft()
        piece.append(whole._replace(token_ids=whole.token_ids[:most_tokens], sampling=None, history=None))
        tail = whole._replace(token_ids=whole.token_ids[most_tokens:], start=whole.start + most_tokens)
        rest.appendleft(tail)
    return piece, list(rest)
