"""Targets that cannot be are refused with a sentence."""

from __future__ import annotations

import pytest

from appliance.slo import SLOTarget


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), "fast", True])
def test_a_target_is_a_positive_number(bad: object) -> None:
    with pytest.raises(ValueError, match=r"^The TPOT target must be a positive number of milliseconds, not .*\.$"):
        SLOTarget(100.0, bad)  # type: ignore[arg-type]


def test_a_target_below_what_one_request_needs_is_refused() -> None:
    target = SLOTarget(ttft_target_ms=100.0, tpot_target_ms=5.0)
    assert target.refusal(least_ttft_ms=90.0, least_tpot_ms=4.0) == ""
    assert target.refusal(90.0, 6.0).startswith("A TPOT target of 5 ms cannot be kept")
    assert target.refusal(101.0, 6.0).startswith("A TTFT target of 100 ms cannot be kept")
