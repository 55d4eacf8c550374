"""What a draw needs, and what it gives, comes through between processes as it was sent."""

from __future__ import annotations

from engine.request import SamplingParams
from engine.wire.to_scheduler import FROM_WORKER, DecodeReport, Token
from engine.wire.to_worker import TO_WORKER, DecodeOrder, Join, PrefillChunk, PrefillOrder

SAMPLING = SamplingParams(
    max_tokens=7,
    min_p=0.25,
    repetition_penalty=1.5,
    presence_penalty=-0.5,
    frequency_penalty=0.5,
    logit_bias={0: -100.0, 70000: 2.5},
    logprobs=0,
)


def test_orders() -> None:
    chunk = PrefillChunk(1, [5, 6], 2, [3], SAMPLING, output_index=1, history=[4, 4, 5, 6])
    join = Join(2, 9, 4, 2, [8], SAMPLING, history=[1, 1, 1, 7, 9])
    for order in (PrefillOrder(1, 1, (chunk,)), DecodeOrder(1, 1, joins=(join,))):
        assert TO_WORKER.decode(TO_WORKER.encode(order)) == order


def test_log_probabilities() -> None:
    tokens = (Token(1, 0, 7, None, -0.125, ((7, -0.125), (3, -2.5))), Token(2, 4, 9))
    report = DecodeReport(1, 2, 3, tokens, (), 0.5)
    assert FROM_WORKER.decode(FROM_WORKER.encode(report)) == report


def test_what_is_off_costs_no_bytes() -> None:
    """A plain request's params are a map of what differs from the defaults."""
    plain = DecodeOrder(1, 1, joins=(Join(2, 9, 4, 2, [8], SamplingParams(max_tokens=7)),))
    assert b"penalty" not in TO_WORKER.encode(plain)
    assert b"penalty" in TO_WORKER.encode(DecodeOrder(1, 1, joins=(Join(2, 9, 4, 2, [8], SAMPLING),)))
