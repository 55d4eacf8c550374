"""Which rows of the suite are measured; the measuring itself is that of the commands it calls."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from bench.cli import app
from bench.machine import Machine
from bench.results import Configuration, Origin, RunLine
from bench.suite import STAGES, Row, Stage, rate, streams, wanted, without_measured
from bench.summary import Summary

ROWS = (streams(1, "fixed:2048/256", 5, 9.0), rate("azure-conv", 18, (500, 30)), rate("azure-conv", 18, (500, 15, 50)))
STAGE = Stage("semi-pd", (), ROWS)


def measured(row: Row, at: str, system: str = "semi-pd") -> RunLine:
    command = " ".join(("semi-pd bench", *row.arguments, f"--system '{system}' --vocabulary 128000"))
    summary = Summary(1, 1, {}, 1, 1, 1.0, 1.0, 1.0, None, None, None, None, None, False, 0.0, 0.0)
    return RunLine(Origin(at, command, Machine({}, "3.12", 16)), Configuration(system, "a mix", 25, 7, 0), summary)


def test_rows_are_named_by_pattern() -> None:
    assert list(wanted([STAGE], [])) == [STAGE]
    assert [row.name for stage in wanted([STAGE], ["*azure-conv*"]) for row in stage.rows] == [
        "azure-conv 18",
        "azure-conv 18 smooth",
    ]
    assert not list(wanted([STAGE], ["semi-pd colocated*"]))


def test_what_was_measured_since_then_is_skipped() -> None:
    lines = [measured(ROWS[0], "2026-12-01T10:00"), measured(ROWS[1], "2026-11-30T10:00")]
    (stage,) = without_measured([STAGE], lines, since="2026-12-01")
    assert stage.rows == ROWS[1:], "the second was measured before"
    other = [replace(line, configuration=replace(line.configuration, system="vLLM")) for line in lines]
    assert list(without_measured([STAGE], other, since="2026-01-01")) == [STAGE]


@pytest.mark.parametrize("kind", ["rate", "streams"])
def test_every_argument_is_one_of_the_command(kind: str) -> None:
    given = CliRunner().invoke(app, [kind, "--help"], env={"COLUMNS": "300"}).output
    options = {word for stage in STAGES for row in stage.rows if row.arguments[0] == kind for word in row.arguments}
    assert all(option in given for option in options if option.startswith("--"))
