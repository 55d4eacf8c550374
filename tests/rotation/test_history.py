"""What the log says of a rotation, and what is kept of the pause that streams saw."""

from __future__ import annotations

import time

import pytest

from appliance.rotation.history import History, Way
from engine.allocation import SMAllocation
from engine.json_lines import MORE
from engine.wire.to_controller import HandOver

SPLIT = SMAllocation(60, 40)


def test_each_line_names_the_rotation_and_the_groups_epoch(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "appliance.rotation.history")
    history = History()
    record = history.begin(SMAllocation(60, 40), "upgrade")
    history.goes(record, Way.NEW_GROUP, 7)
    history.conclude(record, "It did not come up.")
    said = [(line.message, getattr(line, MORE)) for line in caplog.records]
    assert said == [
        ("Rotation 1 to 60/40 is tried with a new group.", {"rotation": 1, "epoch": 7}),
        ("Rotation 1 to 60/40 (upgrade) was not made: It did not come up.", {"rotation": 1, "epoch": 7}),
    ]


def test_a_hand_over_belongs_to_the_rotation_of_its_epoch_or_change() -> None:
    told: list[int] = []
    history = History(lambda record: told.append(record.number))
    rotated, first, second = (history.begin(SPLIT, "") for _ in range(3))
    history.goes(rotated, Way.NEW_GROUP, 2)
    history.goes(first, Way.IN_PLACE, 2, change=1)
    history.goes(second, Way.IN_PLACE, 2, change=2)
    told.clear()
    history.handed_over(HandOver(2, 1, 3, 1.5, 4.0))
    history.handed_over(HandOver(2, 0, 5, 2.0, 9.0))
    assert told == [first.number, rotated.number]
    assert [(one.streams, one.median_pause_ms, one.pause_ms) for one in (rotated, first, second)] == [
        (5, 2.0, 9.0), (3, 1.5, 4.0), (None, None, None),
    ]  # fmt: skip
    assert rotated.as_dict()["pause"] == "5 streams paused, 9.0 ms at most, median 2.0 ms"
    assert second.as_dict()["pause"] == ""


def test_without_streams_it_says_so() -> None:
    history = History()
    record = history.begin(SPLIT, "")
    history.goes(record, Way.NEW_GROUP, 2)
    history.handed_over(HandOver(2))
    assert (record.streams, record.pause_ms) == (0, None)
    assert record.pause == "no stream was under way"


def test_a_pause_that_no_stream_saw_is_none() -> None:
    history = History()
    record = history.begin(SPLIT, "")
    history.goes(record, Way.NEW_GROUP, 2)
    history.handed_over(HandOver(2, 0, 3, 0.0, 0.0))
    assert record.pause == "3 streams went on without a pause"


def test_what_was_told_of_a_change_in_place_that_failed_is_not_that_of_the_rotation() -> None:
    history = History()
    record = history.begin(SPLIT, "")
    history.goes(record, Way.IN_PLACE, 2, change=1)
    history.handed_over(HandOver(2, 1))
    history.goes(record, Way.NEW_GROUP, 3, not_in_place="It was not prepared.")
    assert record.pause == ""
    history.handed_over(HandOver(3, 0, 1, 7.0, 7.0))
    assert record.pause == "one stream paused, 7.0 ms"


def test_a_takeover_that_nobody_asked_for_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "appliance.rotation.history")
    history = History()
    history.goes(history.begin(SPLIT, ""), Way.NEW_GROUP, 2)
    caplog.clear()
    history.handed_over(HandOver(3, 0, 2, 800.0, 900.0))
    history.handed_over(HandOver(4))
    (line,) = caplog.records
    assert line.message == "The group took over: 2 streams paused, 900.0 ms at most, median 800.0 ms."
    assert getattr(line, MORE) == {"epoch": 3}
    assert history.records[0].streams is None


def test_how_long_it_took_is_not_told_by_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History()
    record = history.begin(SPLIT, "")
    monkeypatch.setattr(time, "time", lambda: record.asked_at + 3600.0)
    history.conclude(record, "")
    assert record.live_seconds is not None and 0.0 <= record.live_seconds < 60.0
    assert "_began" not in record.as_dict()
