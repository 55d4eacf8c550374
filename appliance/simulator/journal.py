"""What clients would have seen: each request's times, kept as its tokens come."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.slo.metrics import RequestRecord
from engine.wire.codec import Message
from engine.wire.to_gateway import Refused, Tokens


@dataclass(slots=True)
class Journey:
    """A request, in simulated seconds. One that was refused has no first token and never will."""

    request_id: int
    arrived_at: float
    prompt_tokens: int
    output_tokens: int
    first_token_at: float | None = None
    finished_at: float | None = None
    is_refused: bool = False

    @property
    def ttft_ms(self) -> float | None:
        return None if self.first_token_at is None else 1000 * (self.first_token_at - self.arrived_at)

    @property
    def tpot_ms(self) -> float | None:
        if self.first_token_at is None or self.finished_at is None or self.output_tokens < 2:
            return None
        return 1000 * (self.finished_at - self.first_token_at) / (self.output_tokens - 1)

    def record(self, tokens_so_far: int, last_token_at: float | None) -> RequestRecord:
        """As the policy hears of it."""
        is_finished = self.finished_at is not None
        return RequestRecord(
            request_id=self.request_id,
            arrived_at=self.arrived_at,
            prompt_tokens=self.prompt_tokens,
            first_token_at=self.first_token_at,
            last_token_at=self.finished_at if is_finished else last_token_at,
            output_tokens=self.output_tokens if is_finished else tokens_so_far,
            is_finished=is_finished,
        )


class Journal:
    """Stands where the gateway stands. `overhead` is what it adds to a first token."""

    def __init__(self, overhead: float):
        self._overhead = overhead
        self.journeys: dict[int, Journey] = {}

    def begin(self, journey: Journey) -> None:
        self.journeys[journey.request_id] = journey

    def take(self, message: Message, now: float) -> list[Journey]:
        """Returns the requests that ended with this message."""
        match message:
            case Refused():
                self.journeys[message.request_id].is_refused = True
            case Tokens(tokens):
                for token in tokens:
                    if token.index == 0:
                        self.journeys[token.request_id].first_token_at = now + self._overhead
                ended = [self.journeys[token.request_id] for token in tokens if token.finish is not None]
                for journey in ended:
                    journey.finished_at = now + self._overhead
                return ended
        return []
