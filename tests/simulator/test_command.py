"""`semi-pd simulate` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from appliance.simulator.command import simulate
from tests.simulator.boxes import SMALL

COMMAND = typer.Typer()
COMMAND.command()(simulate)


def test_a_table_a_picture_and_json(tmp_path: Path) -> None:
    box, picture = tmp_path / "box.json", tmp_path / "plot.svg"
    SMALL.save(box)
    load = [str(box), "--mix", "fixed:100/20", "--rate", "1", "--seconds", "60", "--step", "50"]
    shown = CliRunner().invoke(COMMAND, [*load, "--plot", str(picture)])
    assert shown.exit_code == 0
    assert "50/50" in shown.stdout and "colocated" in shown.stdout
    assert picture.read_text().startswith("<svg")
    as_json = CliRunner().invoke(COMMAND, [*load, "--json"])
    assert [result["name"] for result in json.loads(as_json.stdout)] == ["50/50", "policy", "colocated"]


def test_a_trace_is_replayed(tmp_path: Path) -> None:
    box, trace = tmp_path / "box.json", tmp_path / "trace.jsonl"
    SMALL.save(box)
    lines = [{"at_seconds": at, "input_tokens": 20, "output_tokens": 3} for at in (0.5, 1.0)]
    trace.write_text("\n".join(json.dumps(line) for line in lines))
    answer = CliRunner().invoke(COMMAND, [str(box), "--trace", str(trace), "--step", "50", "--json"])
    assert {result["requests"] for result in json.loads(answer.stdout)} == {2}


def test_bad_input_gets_a_sentence(tmp_path: Path) -> None:
    box = tmp_path / "box.json"
    SMALL.save(box)
    for bad, sentence in [
        (["--rate", "0"], "is no load"),
        (["--mix", "unheard-of"], "There is no mix"),
        (["--start", "0"], "must be a whole percentage from 1 to 100"),
        (["--ttft-ms", "-5"], "must be a positive number of milliseconds"),
        (["--step", "77"], "must be from 1 to 50 percent"),
    ]:
        answer = CliRunner().invoke(COMMAND, [str(box), *bad])
        assert answer.exit_code == 2
        assert sentence in answer.stderr
