"""Both phases in one worker, a step of each in turn: neither changes the shape, and so the bits, of the other's."""

from __future__ import annotations

from engine.wire.to_worker import DecodeOrder, PrefillOrder
from engine.worker.decode_steps import DecodeSteps
from engine.worker.prefill_steps import PrefillSteps
from engine.worker.steps import Report


class TakingTurns:
    """Implements `Steps`: `ColocatedSteps` without packing."""

    can_borrow = False
    seconds_to_spare = 0.0

    def __init__(self, prefill: PrefillSteps, decode: DecodeSteps):
        self._prefill = prefill
        self._decode = decode

    @property
    def has_work(self) -> bool:
        return self._prefill.has_work or self._decode.has_work

    def apply(self, order: PrefillOrder | DecodeOrder) -> None:
        receiver = self._prefill if isinstance(order, PrefillOrder) else self._decode
        receiver.apply(order)

    def turn(self, borrowed: bool = False) -> list[Report]:
        return [report for steps in (self._prefill, self._decode) if steps.has_work for report in steps.turn()]

    def finish(self) -> list[Report]:
        return self._prefill.finish() + self._decode.finish()
