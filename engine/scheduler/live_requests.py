"""All requests between admission and their last token, and whose they are."""

from __future__ import annotations

from collections import Counter

from engine.request import Request
from engine.scheduler.live_request import LiveRequest


class LiveRequests(dict[int, LiveRequest]):
    """By id. `probes` are among them, and counted as nobody's; `by_key` counts those of each API key."""

    def __init__(self) -> None:
        super().__init__()
        self.probes: dict[int, LiveRequest] = {}
        self.by_key: Counter[str] = Counter()
        self._admitted = 0

    @property
    def of_clients(self) -> list[LiveRequest]:
        """Everybody but probes."""
        return [live for live in self.values() if not live.request.is_probe]

    def of_gateway(self, gateway: bytes) -> list[LiveRequest]:
        return [live for live in self.values() if live.gateway == gateway]

    @property
    def youngest_running(self) -> LiveRequest | None:
        """Whom to preempt: the youngest of the least urgent, never the last one: somebody always gets through."""
        running = [live for live in self.values() if live.is_running and live.exit is None]
        return max(running, key=lambda live: (live.request.priority, live.age)) if len(running) > 1 else None

    def admit(self, gateway: bytes, request: Request, draws_again: bool) -> LiveRequest:
        """`draws_again`: what the client has already is drawn once more, bit by bit the same."""
        self._admitted += 1
        emitted = list(request.emitted_ids)
        behind = len(emitted) if draws_again else 0
        live = LiveRequest(request, gateway, age=self._admitted, output_ids=emitted, behind=behind)
        self[live.id] = live
        if request.is_probe:
            self.probes[live.id] = live
        else:
            self.by_key[request.key_id] += 1
        return live

    def forget(self, live: LiveRequest) -> None:
        del self[live.id]
        if self.probes.pop(live.id, None):
            return
        self.by_key[live.request.key_id] -= 1
        if not self.by_key[live.request.key_id]:
            del self.by_key[live.request.key_id]
