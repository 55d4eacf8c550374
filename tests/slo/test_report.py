"""The compliance report from rows, and what it looks like."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
import typer
from rich.console import Console

from appliance.commands.report import seconds_in
from appliance.slo.report import hour_of, report_of
from appliance.slo.report_plot import as_svg
from appliance.slo.report_table import report_page
from appliance.store import sketch

HOUR = 3600
BEGIN = 1_800_000_000 - 1_800_000_000 % HOUR


def row(at: int, split: str, requests: int, attained: int, ttft: int = 0, tpot: int = 0) -> dict[str, Any]:
    return {
        "time": BEGIN + at, "split": split, "requests": requests, "attained": attained, "ttft_violated": ttft,
        "tpot_violated": tpot, "in_force_seconds": 60, "ttft_counts": sketch.counted([100.0] * requests),
        "tpot_counts": sketch.counted([10.0] * requests),
    }  # fmt: skip


ROWS = [
    row(0, "50/50", 10, 10),
    row(60, "50/50", 10, 4, ttft=6, tpot=1),
    row(HOUR, "70/30", 20, 18, tpot=2),
    row(2 * HOUR, "", 0, 0),
]
MARKS = [
    {"at": BEGIN + 100.0, "kind": "rotation", "sentence": "Rotation 1 to 70/30 <was> live."},
    {"at": BEGIN + 50.0, "kind": "start", "sentence": "The controller started."},
    {"at": BEGIN + HOUR + 1.0, "kind": "target", "sentence": "Targets set."},
]
REPORT = report_of(ROWS, MARKS, BEGIN, BEGIN + 3 * HOUR)


def shown(*tables: str) -> str:
    console = Console(width=140)
    with console.capture() as capture:
        console.print(report_page(REPORT, tables))
    return capture.get()


def test_by_hour_and_by_split() -> None:
    assert [(part.requests, part.attained) for part in REPORT.by_hour] == [(20, 14), (20, 18), (0, 0)]
    assert [(part.name, part.attainment) for part in REPORT.by_split] == [
        ("50/50", 0.7),
        ("70/30", 0.9),
        ("none", None),
    ]
    assert REPORT.total.attainment == 32 / 40
    assert REPORT.total.violated == "TTFT by 6, TPOT by 3"
    assert REPORT.total.ttft_ms is not None and REPORT.total.ttft_ms.p95 == pytest.approx(100.0, rel=0.01)


def test_what_was_done_stands_with_its_hour() -> None:
    first, second, third = REPORT.by_hour
    assert [deed.kind for deed in REPORT.done_in(first)] == ["rotation"]
    assert [deed.kind for deed in REPORT.done_in(second)] == ["target"]
    assert REPORT.done_in(third) == []
    assert first.name == hour_of(BEGIN + HOUR - 1) == time.strftime("%F %H:00", time.localtime(BEGIN))


def test_as_json() -> None:
    found = json.loads(json.dumps(REPORT.as_dict()))
    assert found["total"]["attainment"] == 0.8
    assert [part["name"] for part in found["by_split"]] == ["50/50", "70/30", "none"]
    assert [deed["kind"] for deed in found["done"]] == ["rotation", "target"]


def test_on_a_terminal() -> None:
    page = shown("hour", "split")
    assert "80.0 % of 40 requests kept both targets; missed: TTFT by 6, TPOT by 3." in page
    assert "70/30" in page and "2.0 min" in page and "1 rotation" in page and "Targets set." in page
    assert "in force" not in shown("hour")


def test_nothing_to_report() -> None:
    empty = report_of([], [], BEGIN, BEGIN + HOUR)
    console = Console(width=140)
    with console.capture() as capture:
        console.print(report_page(empty, ["hour"]))
    assert "no requests ended" in capture.get() and "Nothing was done" in capture.get()
    ElementTree.fromstring(as_svg(empty))


def test_as_a_picture() -> None:
    picture = ElementTree.fromstring(as_svg(REPORT))
    texts = [element.text for element in picture.iter() if element.text]
    assert "Both targets kept by hour: 80.0 % of 40 requests" in texts
    assert "Rotation 1 to 70/30 <was> live." in texts
    bars = [element for element in picture.iter() if element.tag.endswith("rect")]
    assert all(float(bar.get("width", "-1")) >= 0 and float(bar.get("height", "-1")) >= 0 for bar in bars)


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("24h", 86400), ("7d", 7 * 86400), ("1.5h", 5400)])
def test_a_span(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "0h", "-1h", "3x"])
def test_no_span(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="90m, 24h, 7d"):
        seconds_in(text)
