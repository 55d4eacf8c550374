"""The last minutes' load, simulated for the SLO page and for programs."""

from __future__ import annotations

import time

from engine.wire.to_controller import LoadReport, RequestProgress
from tests.webui.stand import Browser, Stand
from tests.webui.test_changes import admin_key, api
from webui.slo.simulated import Row, Simulated

QUERY = "?ttft_ms=500&tpot_ms=50"
REQUESTS = 40


def serve(stand: Stand, requests: int = REQUESTS) -> None:
    """As if a request a second had been served: 100 tokens in 0.1 s, then 20 tokens, 10 ms each, two at a time."""
    begin = time.monotonic() - requests
    for second in range(requests):
        at = begin + second
        done = RequestProgress(2 * second, at - 1, 100, at - 0.9, at - 0.7, 20, is_finished=True)
        running = RequestProgress(2 * second + 1, at - 0.2, 100, at - 0.1, at, 10, is_finished=False)
        work = (100 * second, 0.1 * second, 40 * second, 20 * second, 0.2 * second)
        report = LoadReport((done, running), (), *work, prefill_steps=second)
        stand.coordinator._observe(report)


def test_the_page_shows_each_split_and_the_policy(stand: Stand, owner: Browser) -> None:
    assert "/slo/simulation" in owner.get("/slo/").text
    serve(stand)
    shown = owner.get(f"/slo/simulation{QUERY}").text
    assert "The latest 80 requests" in shown and "100.0 % of them kept these targets" in shown
    assert all(split in shown for split in ("10/90", "50/50", "90/10", "policy", "<b>70/30</b>"))


def test_programs_are_told_the_same(stand: Stand, owner: Browser) -> None:
    serve(stand)
    found = api(stand, "GET", f"/slo/simulation{QUERY}", admin_key(stand, owner)).get_json()
    assert (found["problem"], found["in_force"], found["requests"]) == ("", "70/30", 2 * REQUESTS)
    rows = {row["name"]: row for row in found["rows"]}
    assert len(rows) == 10 and rows["50/50"]["attainment"] == 1.0
    assert 10.0 <= rows["70/30"]["tpot_p95_ms"] <= 10.0 / 0.3 * 1.05
    assert rows["10/90"]["ttft_p95_ms"] > 5 * rows["90/10"]["ttft_p95_ms"]


def test_where_the_simulation_is_not_like_what_was_seen_it_is_doubted() -> None:
    rows = (Row("70/30", 0.9, 100.0, 10.0, 0), Row("policy", 0.95, 100.0, 10.0, 1))
    doubted = Simulated("", 80, 60.0, 0.7, "70/30", rows).doubt
    assert "90 % at 70/30, and 70 % were seen" in doubted
    assert Simulated("", 80, 60.0, 0.85, "70/30", rows).doubt == Simulated("Nothing runs.").doubt == ""


def test_where_too_little_was_served_it_says_so(stand: Stand, owner: Browser) -> None:
    serve(stand, 3)
    assert "20 requests are wanted, and 6 came" in owner.get(f"/slo/simulation{QUERY}").text


def test_targets_that_cannot_be_are_not_simulated(stand: Stand, owner: Browser) -> None:
    serve(stand)
    assert "TTFT target" in owner.get("/slo/simulation?ttft_ms=-1&tpot_ms=50").text
    assert "The simulation failed" not in owner.get("/slo/simulation?ttft_ms=500&tpot_ms=50&window_seconds=0").text


def test_without_an_appliance_there_is_nothing_to_simulate(stand: Stand, owner: Browser) -> None:
    (stand.instance.state_dir / "running.json").unlink()
    assert "No appliance of this user is running" in owner.get(f"/slo/simulation{QUERY}").text
