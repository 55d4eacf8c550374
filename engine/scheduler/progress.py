"""How far requests have come and what the workers have computed: what the SLO policy is told of the load."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from engine.allocation import Phase
from engine.scheduler.live_request import LiveRequest
from engine.scheduler.phase_work import PhaseWork
from engine.wire.to_controller import HandOver, LoadReport, RequestProgress
from engine.wire.to_scheduler import Token


class Progress:
    """`clock` is `time.monotonic`, in which gateways give the time of arrival."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._ended: list[RequestProgress] = []
        self._cancelled: list[int] = []
        self._hand_overs: list[HandOver] = []

    def started(self, live: LiveRequest) -> None:
        """Its first chunk is on the way; after a preemption it has started already."""
        if live.prefill_started_at is None:
            live.prefill_started_at = self._clock()

    def timed(self, live: LiveRequest, token: Token) -> Token:
        """One more token goes out; the first says how long it waited and how long its prompt took."""
        live.last_token_at = self._clock()
        if live.first_token_at is not None or live.prefill_started_at is None:
            return token
        live.first_token_at = live.last_token_at
        return replace(
            token,
            queue_seconds=max(0.0, live.prefill_started_at - live.request.received_at),
            prefill_seconds=live.first_token_at - live.prefill_started_at,
        )

    def ended(self, live: LiveRequest, is_finished: bool) -> None:
        """It is finished, or nobody wanted the rest."""
        if is_finished:
            self._ended.append(progress_of(live, is_finished=True))
        else:
            self._cancelled.append(live.id)

    def handed_over(self, told: HandOver) -> None:
        """All streams have got over it."""
        self._hand_overs.append(told)

    def take_report(self, live: Iterable[LiveRequest], work: Mapping[Phase, PhaseWork]) -> LoadReport:
        """Everybody who is live, and who has ended since the last report."""
        ended, self._ended = self._ended, []
        cancelled, self._cancelled = self._cancelled, []
        hand_overs, self._hand_overs = self._hand_overs, []
        prefill, decode = work[Phase.PREFILL], work[Phase.DECODE]
        return LoadReport(
            requests=(*ended, *(progress_of(one, is_finished=False) for one in live)),
            cancelled=tuple(cancelled),
            prefill_tokens=prefill.tokens,
            prefill_seconds=prefill.seconds,
            decode_tokens=decode.tokens,
            decode_steps=decode.steps,
            decode_seconds=decode.seconds,
            prefill_borrowed_seconds=prefill.borrowed_seconds,
            decode_borrowed_seconds=decode.borrowed_seconds,
            prefill_steps=prefill.steps,
            hand_overs=tuple(hand_overs),
        )


def progress_of(live: LiveRequest, is_finished: bool) -> RequestProgress:
    return RequestProgress(
        request_id=live.id,
        arrived_at=live.request.received_at,
        prompt_tokens=len(live.request.prompt_ids),
        first_token_at=live.first_token_at,
        last_token_at=live.last_token_at,
        output_tokens=len(live.output_ids),
        is_finished=is_finished,
    )
