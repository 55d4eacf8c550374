"""Who is next among those that wait: by priority, then the API key that was served least, then first come."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterator

from engine.scheduler.live_request import LiveRequest

OUTPUT_WEIGHT = 2
"""An output token costs about as much as two prompt tokens; from "Fairness in Serving Large Language Models" (VTC)."""


class WaitingQueue:
    """Requests without pages. `service` counts weighted tokens for each key, from the VTC paper (arXiv 2401.00588)."""

    def __init__(self) -> None:
        self._lines: dict[tuple[int, str], list[LiveRequest]] = {}
        self._service: Counter[str] = Counter()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, live: LiveRequest) -> None:
        """A new request goes to the end of its line; one that was preempted finds its old place."""
        insort(self._lines.setdefault(self._line_of(live), []), live, key=lambda other: other.age)
        self._length += 1

    def remove(self, live: LiveRequest) -> None:
        """Nothing happens if it does not wait."""
        line = self._lines.get(self._line_of(live), [])
        if live in line:
            line.remove(live)
            self._length -= 1
            if not line:
                del self._lines[self._line_of(live)]

    def in_order(self) -> Iterator[LiveRequest]:
        """All of them, the next one first."""
        for line in sorted(self._lines, key=lambda line: (line[0], self._service[line[1]])):
            yield from self._lines[line]

    def arrive(self, key_id: str, live_keys: Counter[str]) -> None:
        """A key that was idle gets no credit for it: it starts level with the least served of those that are live."""
        others = [self._service[key] for key in live_keys if key != key_id]
        if others and not live_keys[key_id]:
            self._service[key_id] = max(self._service[key_id], min(others))

    def charge(self, key_id: str, prompt_tokens: int = 0, output_tokens: int = 0) -> None:
        """Count what a key was given."""
        self._service[key_id] += prompt_tokens + OUTPUT_WEIGHT * output_tokens

    def _line_of(self, live: LiveRequest) -> tuple[int, str]:
        return (live.request.priority, live.request.key_id)
