"""What one request alone needs is learnt from the best that was seen, and never from more than that."""

from __future__ import annotations

import pytest

from appliance.slo import RequestRecord, SLOTarget
from appliance.slo.alone import LEAST_REQUESTS, LEAST_TOKENS, Alone
from appliance.slo.profile import Speeds

WHOLE = Speeds(1.0, 1.0)


def record(ttft: float, tpot: float, tokens: int = 11, is_finished: bool = True) -> RequestRecord:
    return RequestRecord(1, 100.0, 10, 100.0 + ttft, 100.0 + ttft + tpot * (tokens - 1), tokens, is_finished)


def test_the_best_is_kept() -> None:
    alone = (
        Alone().learned(record(0.2, 0.03), WHOLE).learned(record(0.1, 0.05), WHOLE).learned(record(0.4, 0.04), WHOLE)
    )
    assert alone.ttft_ms == pytest.approx(100.0)
    assert alone.tpot_ms == pytest.approx(30.0)


def test_what_a_part_of_the_chip_took_the_whole_would_take_less() -> None:
    alone = Alone().learned(record(0.2, 0.04), Speeds(0.5, 0.25))
    assert alone.ttft_ms == pytest.approx(100.0)
    assert alone.tpot_ms == pytest.approx(10.0)


@pytest.mark.parametrize("unfit", [record(0.2, 0.03, tokens=LEAST_TOKENS - 1), record(0.2, 0.03, is_finished=False)])
def test_a_pace_is_learnt_from_whole_answers_only(unfit: RequestRecord) -> None:
    alone = Alone().learned(unfit, WHOLE)
    assert alone.tpot_ms is None
    assert alone.requests == 0


def test_a_target_below_it_is_refused_and_an_unknown_need_refuses_nothing() -> None:
    assert Alone().refusal(SLOTarget(0.001, 0.001)) == ""
    assert Alone(100.0, 30.0, LEAST_REQUESTS - 1).refusal(SLOTarget(0.001, 0.001)) == "", "it may have been busy"
    alone = Alone(100.0, 30.0, LEAST_REQUESTS)
    assert alone.refusal(SLOTarget(100.0, 30.0)) == ""
    assert "TTFT target of 99 ms cannot be kept" in alone.refusal(SLOTarget(99.0, 30.0))
    assert "TPOT target of 29 ms cannot be kept" in alone.refusal(SLOTarget(100.0, 29.0))
