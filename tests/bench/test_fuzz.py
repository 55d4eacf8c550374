"""What is made up for parsers, endpoints and tenants, and whether a mistake would be found."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.faults.fuzz.bytes_reader import BytesReader
from bench.faults.fuzz.harness import keeping_problems
from bench.faults.fuzz.parsers import Parsers
from bench.faults.fuzz.replay import Answer, judged
from bench.faults.fuzz.result import FuzzConfiguration, FuzzLine, FuzzResults
from bench.faults.fuzz.table import row, summaries
from bench.faults.fuzz.target import Target, TooSlow
from bench.faults.fuzz.targets import TARGETS
from bench.faults.fuzz.trace import Planned, canaries, trace
from bench.machine import Machine
from bench.report import report
from bench.results import BadResults, Origin

INPUTS = 150
WORDS = ("type", "properties", "a")


def made_up(seed: int, count: int) -> list[bytes]:
    source = random.Random(seed)
    return [source.randbytes(source.choice((8, 60, 200, 600))) for _ in range(count)]


# ── parsers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_refuses_in_its_own_words(name: str, tmp_path: Path) -> None:
    target = TARGETS[name](tmp_path)
    for data in (b"", *made_up(7, INPUTS)):
        target.feed(data)


def test_the_same_bytes_are_the_same_value_and_all_of_them_are_json() -> None:
    known = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}
    values = set[str]()
    for data in made_up(1, 300):
        one, again = (json.dumps(BytesReader(data).value(WORDS)) for _ in range(2))
        assert one == again
        values |= {one, json.dumps(BytesReader(data).changed(known, WORDS))}
    assert len(values) > 200
    assert known == {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}, "it is not changed itself"
    assert json.dumps(known) in values, "sometimes nothing is changed"


class Careless(Target):
    """Fails in two places, and is slow on one input."""

    def feed(self, data: bytes) -> None:
        if data == b"slow":
            raise TooSlow("It computes for 2.0 s.")
        if data.startswith(b"a"):
            [][1]
        if data.startswith(b"b"):
            {}["x"]  # pyright: ignore[reportUnusedExpression]


def test_a_mistake_is_written_down_once_and_does_not_hide_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TARGETS, "careless", Careless)
    feed = keeping_problems("careless", tmp_path / "found", tmp_path)
    for data in (b"fine", b"ab", b"ac", b"b", b"slow"):
        feed(data)
    found = sorted(path.read_bytes() for path in (tmp_path / "found").glob("problem-*.bytes"))
    assert found == [b"ab", b"b", b"slow"]
    said = "".join(path.read_text() for path in (tmp_path / "found").glob("problem-*.txt"))
    assert "IndexError" in said and "KeyError" in said and "TooSlow" in said


def test_a_round_of_a_parser_counts_what_all_its_processes_were_fed(tmp_path: Path) -> None:
    said = list[str]()
    line = Parsers("request", CONFIGURATION, 2, tmp_path).round(0, ORIGIN, 40, said.append)
    assert (line.cases, line.problems, said) == (80, (), [])


def test_a_parser_that_ends_its_process_is_a_problem(tmp_path: Path) -> None:
    line = Parsers("nobody", CONFIGURATION, 1, tmp_path).round(0, ORIGIN, 1, lambda problem: None)
    assert len(line.problems) == 1 and "The process ended with 1" in line.problems[0]


# ── traces ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_tenants_requests_have_its_own_word_and_no_others() -> None:
    words = canaries(3, 4)
    planned = trace(3, words, "m", 300, 50.0)
    assert planned == trace(3, words, "m", 300, 50.0) != trace(4, words, "m", 300, 50.0)
    assert [one.at for one in planned] == sorted(one.at for one in planned)
    assert {one.tenant for one in planned} == set(range(4))
    for one in planned:
        said = json.dumps(one.body)
        assert [word in said.lower() for word in words] == [
            tenant == one.tenant and one.body is not None for tenant in range(4)
        ]
    assert any(one.leaves_after for one in planned) and all(one.body for one in planned if one.leaves_after)


def test_what_is_wrong_with_an_answer_to_a_valid_request() -> None:
    words = ["cnry0", "cnry1"]
    asked = Planned(0.0, 0, "/v1/completions", {"prompt": "cnry0"})

    def problems(status: str, data: bytes, silence: float = 0.1) -> str:
        return "; ".join(problem.split(":")[0] for problem in judged(asked, Answer(status, data, silence), words))

    assert problems("200", b"cnry0 and so on") == ""
    assert problems("503", b"(b'Retry-After', b'2')") == ""
    assert problems("503", b"") == "503 without Retry-After"
    assert problems("500", b"") == "500 to a valid request"
    assert problems("400", b"") == "400 to a valid request"
    assert problems("200", b'data: {"error": 1}') == "an error event in a stream"
    assert problems("200", b"cnry1") == "another tenant's word"
    assert problems("200", b"", silence=1.5) == "nothing for 1.5 s"


# ── results ─────────────────────────────────────────────────────────────────────────────────────────────────────────

ORIGIN = Origin("2026-01-01T00:00:00+00:00", "python -m bench.faults.fuzz requests", Machine({}, "3.11.0", 2))
CONFIGURATION = FuzzConfiguration("requests", "demo on cpu by duty", "schemathesis 4", 0)


def a_line(problems: Sequence[str] = (), **changes: Any) -> FuzzLine:
    fields: dict[str, Any] = {
        "origin": ORIGIN,
        "configuration": CONFIGURATION,
        "number": 0,
        "cases": 100,
        "outcomes": {"200": 40, "400": 60},
        "problems": tuple(problems),
        "slowest_seconds": 0.25,
        "canaries": None,
        "seconds": 9.0,
        "load_average": 2.5,
    }
    return FuzzLine(**fields | changes)


def test_rounds_add_up_and_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "fuzz.jsonl"
    FuzzResults(path).append(a_line())
    FuzzResults(path).append(a_line(["HTTP 500: curl"], slowest_seconds=0.75, canaries=3))
    again = FuzzResults(path)
    assert len(again.done(CONFIGURATION, ORIGIN)) == 2
    (summed,) = summaries(again.lines)
    assert row(summed) == (
        "requests: demo on cpu by duty",
        "schemathesis 4",
        "200",
        "1",
        "0.75",
        "3",
        "80 × 200, 120 × 400",
        "2.5",
    )
    assert "| requests: demo on cpu by duty | schemathesis 4 | 200 | 1 |" in report([], fuzz=again.lines)
    path.write_text("{}\n")
    with pytest.raises(BadResults, match="Line 1"):
        FuzzResults(path)
