"""History and compliance, from a store with a past."""

from __future__ import annotations

from tests.webui.stand import Browser, Stand
from webui.history import SERIES, columns


def test_the_past_comes_as_columns_with_marks(stand: Stand) -> None:
    stand.remember(300)
    found = columns(stand.instance.state_dir, 300)
    lengths = {len(found["series"][name]) for name in SERIES}
    assert len(lengths) == 1 and 295 <= lengths.pop() <= 301
    assert found["step_seconds"] == 1
    assert {"decision", "rotation", "target", "start"} <= {mark["kind"] for mark in found["marks"]}


def test_without_a_database_the_page_says_why(stand: Stand, owner: Browser) -> None:
    (stand.instance.state_dir / "appliance.db").rename(stand.instance.state_dir / "gone.db")
    found = owner.get("/history?span=300").get_json()
    assert "cannot be read" in found["problem"] and found["series"]["time"] == []
    assert owner.get("/").status_code == 200
    assert "cannot be read" in owner.get("/live/now").get_json()["store_problem"]


def test_the_report_adds_up(stand: Stand, owner: Browser) -> None:
    stand.remember(300)
    report = owner.get("/slo/report.json?span=86400").get_json()
    assert report["requests"] >= 50 * 180
    for name in ("requests", "attained", "ttft_violated", "tpot_violated"):
        assert report[name] == sum(part[name] for part in report["by_split"].values())
    lines = owner.get("/slo/report.csv?span=86400").text.splitlines()
    assert lines[0].startswith("time,split,requests") and len(lines) == 1 + len(report["rows"])
