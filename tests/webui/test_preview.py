"""What the policy would do with other targets."""

from __future__ import annotations

from appliance.slo import SLOTarget
from webui.slo.preview import doubt, preview

DECISION = {"rungs": {"70/30": {"ttft_ms": 100.0, "tpot_ms": 60.0}, "30/70": {"ttft_ms": 400.0, "tpot_ms": 20.0}}}


def test_the_split_that_keeps_both_is_best() -> None:
    found = preview(SLOTarget(500, 50), DECISION)
    assert found.is_kept and found.best and found.best.split == "30/70"
    assert [rung.split for rung in found.rungs] == ["30/70", "70/30"]


def test_where_none_keeps_both_it_says_by_how_much() -> None:
    found = preview(SLOTarget(200, 10), DECISION)
    assert found.is_kept is False
    assert found.best and found.best.split == "30/70"
    assert "No split keeps both" in found.sentence and "TPOT 2.0 times its 10 ms" in found.sentence


def test_without_predictions_it_says_so() -> None:
    for decision in (None, {}, {"rungs": {}}):
        assert preview(SLOTarget(200, 10), decision).is_kept is None


def test_predictions_that_the_policy_would_not_trust_are_doubted() -> None:
    found = preview(SLOTarget(500, 50), DECISION)
    assert "0.30" in doubt(found, 0.3, 0.7)
    assert doubt(found, 0.8, 0.7) == doubt(found, None, 0.7) == doubt(preview(SLOTarget(5, 5), None), 0.1, 0.7) == ""
