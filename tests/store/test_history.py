"""Decisions and rotations of earlier starts are still there, and each of this one is told as it is now."""

from __future__ import annotations

from pathlib import Path

from appliance.rotation.history import History as RotationHistory
from appliance.rotation.history import RotationRecord, Way
from appliance.slo import SLOTarget
from appliance.slo.decision import Action, Choice, Decision
from appliance.slo.decisions import DecisionLog
from appliance.slo.window import WindowSummary
from appliance.store import queries
from appliance.store.database import open_database
from appliance.store.history import History
from appliance.store.journal import Journal
from appliance.store.reading import FILE, reading
from appliance.store.writer import Writer
from engine.allocation import SMAllocation
from engine.wire.to_controller import HandOver

SPLIT, OTHER = SMAllocation(50, 50), SMAllocation(70, 30)


class Run:
    """A controller's life."""

    def __init__(self, state_dir: Path, number: int):
        self.writer = Writer("The database", lambda: open_database(state_dir / FILE), lambda said: None)
        self.writer.start()
        journal = Journal(self.writer, number)
        self.rotations = RotationHistory(journal.rotation)
        self.decisions = DecisionLog(journal.decision)
        self.history = History(state_dir, number)

    def rotate(self, problem: str = "") -> RotationRecord:
        record = self.rotations.begin(OTHER, "a test")
        self.rotations.conclude(record, problem)
        return record

    def decide(self, at: float) -> None:
        choice = Choice(Action.MOVE, OTHER, "a test")
        record = self.decisions.add(Decision(SPLIT, WindowSummary(at, 30.0), SLOTarget(1.0, 1.0), choice), at)
        self.decisions.taken(record, True)
        self.decisions.complete(WindowSummary(at + 30.0, 30.0), OTHER)

    def told(self) -> tuple[list[str], list[str]]:
        rotations = self.history.rotations([record.as_dict() for record in self.rotations.records], 100)
        decisions = self.history.decisions([record.as_dict() for record in self.decisions.records], 100)
        return [record["sentence"] for record in rotations], [record["outcome"] for record in decisions]


def test_over_two_runs(tmp_path: Path) -> None:
    first = Run(tmp_path, 1)
    first.rotate()
    first.rotate("no spare was ready.")
    first.decide(10.0)
    first.writer.stop()
    second = Run(tmp_path, 2)
    second.rotate()
    second.decide(20.0)
    rotations, decisions = second.told()
    assert len(rotations) == 3 and "no spare was ready" in rotations[1]
    assert decisions == ["A window later: no requests."] * 2
    assert len(second.history.rotations([], 2)) == 2
    second.writer.stop()
    with reading(tmp_path) as connection:
        rows = queries.decisions(connection)
        assert [(row["run"], row["number"], row["was_taken"], row["outcome"] != "") for row in rows] == [
            (1, 1, True, True), (2, 1, True, True),
        ]  # fmt: skip
        assert [row["problem"] for row in queries.rotations(connection)] == ["", "no spare was ready.", ""]
        kinds = [mark["kind"] for mark in queries.marks(connection, 0.0)]
        assert kinds == ["decision"] * 2 + ["rotation"] * 3


def test_the_pause_that_streams_saw_is_kept(tmp_path: Path) -> None:
    """It is told after the rotation was live."""
    run = Run(tmp_path, 1)
    record = run.rotations.begin(OTHER, "a test")
    run.rotations.goes(record, Way.NEW_GROUP, 2)
    run.rotations.conclude(record, "")
    run.rotations.handed_over(HandOver(2, 0, 5, 2.0, 9.0))
    run.writer.stop()
    (kept,) = History(tmp_path, 2).rotations([], 100)
    assert (kept["streams"], kept["median_pause_ms"], kept["pause_ms"]) == (5, 2.0, 9.0)
    assert kept["pause"] == record.pause


def test_memory_alone_where_nothing_can_be_read(tmp_path: Path) -> None:
    history = History(tmp_path, 1)
    assert history.rotations([{"number": 1}, {"number": 2}], 1) == [{"number": 2}]
