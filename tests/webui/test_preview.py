"""What the policy would do with other targets."""

from __future__ import annotations

from appliance.slo import SLOTarget
from webui.slo.preview import doubt, preview

DECISION = {"rungs": {"70/30": {"ttft_ms": 100.0, "tpot_ms": 60.0}, "30/70": {"ttft_ms": 400.0, "tpot_ms": 20.0}}}
SEEN = {"in_force": "80/100", "seen": {"ttft_ms": [80.0, 150.0, 300.0], "tpot_ms": [9.0, 15.0, 40.0]}}


def test_the_split_that_keeps_both_is_best() -> None:
    found = preview(SLOTarget(500, 50), DECISION)
    assert found.is_kept and found.best and found.best.split == "30/70"
    assert [rung.split for rung in found.rungs] == ["30/70", "70/30"]


def test_where_none_keeps_both_it_says_by_how_much() -> None:
    found = preview(SLOTarget(200, 10), DECISION)
    assert found.is_kept is False
    assert found.best and found.best.split == "30/70"
    assert "No split keeps both" in found.sentence and "TPOT 2.0 times its 10 ms" in found.sentence


def test_where_the_split_in_force_keeps_both_nothing_moves_though_no_rung_would() -> None:
    """Overlapping shares are no rung, and the policy leaves them only once a target is missed."""
    found = preview(SLOTarget(200, 18), DECISION | SEEN, "80/100")
    assert found.is_kept and found.seen and found.seen.split == "80/100"
    assert "at 80/100, TTFT 150 ms and TPOT 15.0 ms: nothing has to move" in found.sentence


def test_what_was_seen_at_a_split_that_was_left_counts_no_more() -> None:
    found = preview(SLOTarget(200, 18), DECISION | SEEN, "70/30")
    assert found.seen is None and found.is_kept is False


def test_where_the_split_in_force_misses_the_best_rung_is_named() -> None:
    found = preview(SLOTarget(500, 10), DECISION | SEEN, "80/100")
    assert found.is_kept is False and found.seen and found.seen.verdict.violation
    assert "Best at 30/70" in found.sentence


def test_what_is_missed_by_a_little_is_said_in_percent() -> None:
    assert "TPOT 2.6 % beyond its 19.5 ms" in preview(SLOTarget(500, 19.5), DECISION).sentence


def test_without_predictions_it_says_so() -> None:
    for decision in (None, {}, {"rungs": {}}):
        assert preview(SLOTarget(200, 10), decision).is_kept is None


def test_predictions_that_the_policy_would_not_trust_are_doubted() -> None:
    found = preview(SLOTarget(500, 50), DECISION)
    assert "0.30" in doubt(found, 0.3, 0.7)
    assert doubt(found, 0.8, 0.7) == doubt(found, None, 0.7) == doubt(preview(SLOTarget(5, 5), None), 0.1, 0.7) == ""
