"""What the log says of a rotation."""

from __future__ import annotations

import pytest

from appliance.rotation.history import History, Way
from engine.allocation import SMAllocation
from engine.json_lines import MORE


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
