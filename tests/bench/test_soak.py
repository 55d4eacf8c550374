"""Whether something grows, by what was taken at rest, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.faults.footprint import Footprint, kind_of
from bench.faults.growth import growth
from bench.faults.soak_result import SoakConfiguration, SoakLine, SoakResults
from bench.faults.soak_table import rows, soaked
from bench.faults.verdict import EQUAL, REFUSED
from bench.machine import Machine
from bench.results import BadResults, Origin

MIB = 1 << 20


def test_what_fills_up_once_is_no_growth_and_too_few_samples_say_nothing() -> None:
    at = [100.0 * number for number in range(1, 9)]
    assert growth(at[:5], [1.0] * 5) is None
    warming = growth(at, [10.0, 70.0, 90.0, 90.0, 91.0, 90.0, 91.0, 90.0])
    assert warming is not None and not warming.is_more_than(1.0)
    leaking = growth(at, [10.0, 70.0, *(90.0 + number for number in range(6))])
    assert leaking is not None and leaking.fitted == pytest.approx(5.0)
    assert leaking.is_more_than(4.0) and not leaking.is_more_than(4.0, part=0.1)


def test_one_sample_beside_the_line_is_no_growth() -> None:
    at = [100.0 * number for number in range(1, 9)]
    spike = growth(at, [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 40.0])
    assert spike is not None and spike.last - spike.first > 8.0
    assert not spike.is_more_than(25.0), "the line has a say, too"


def a_line(number: int, **changes: Any) -> SoakLine:
    fields: dict[str, Any] = {
        "origin": Origin("2026-01-01T00:00:00+00:00", "python -m bench.faults soak", Machine({}, "3.11.0", 2)),
        "configuration": SoakConfiguration("demo on cpu by duty", 0, 12, 4, 2, 1000, 2),
        "appliance": "2026-01-01T00:00:00+00:00",
        "requests": 1000,
        "verdicts": {EQUAL: 999, REFUSED: 1},
        "rotations": 2,
        "failed": (),
        "taken": {"engine.scheduler": Footprint(1, 40 * MIB, 20, 3), f"new{number}": Footprint(1, 1, 1, 1)},
        "pages_left": 0,
        "seconds": 60.0,
        "load_average": 2.0,
    }
    return SoakLine(**fields | changes)


def taken(memory: int = 40 * MIB, files: int = 20, threads: int = 3, processes: int = 1) -> dict[str, Footprint]:
    return {"engine.scheduler": Footprint(processes, memory, files, threads)}


def test_a_soak_without_growth() -> None:
    (soak,) = soaked([a_line(number) for number in range(6)])
    assert soak.problems == []
    assert "6,000 requests in 6 minutes, 5,994 with the undisturbed answer, 12 rotations" in soak.sentence
    assert "nothing grew" in soak.sentence
    assert rows(soak) == [
        ("engine.scheduler", "40.0 → 40.0 (+0.00 a 1,000)", "20 → 20 (+0.00 a 1,000)", "3 → 3 (+0.00 a 1,000)", "1")
    ]


@pytest.mark.parametrize(
    ("grows", "words"),
    [
        (lambda number: {"taken": taken(memory=(40 + 4 * number) * MIB)}, "the memory of engine.scheduler grew"),
        (lambda number: {"taken": taken(files=20 + 2 * number)}, "the files of engine.scheduler grew from 24 to 30"),
        (lambda number: {"taken": taken(threads=3 + number)}, "the threads of engine.scheduler grew"),
        (lambda number: {"taken": taken(processes=1 + number)}, "the processes of engine.scheduler grew"),
        (lambda number: {"pages_left": 3 if number == 4 else 0}, "3 pages in use at rest"),
        (lambda number: {"pages_left": None if number == 4 else 0}, "None pages in use at rest"),
        (lambda number: {"verdicts": {EQUAL: 9, "tokens changed": 1}}, "6 requests tokens changed"),
        (lambda number: {"failed": ("No room.",) if number == 0 else ()}, "a rotation failed: No room."),
    ],
)
def test_what_grows_or_is_wrong_is_said(grows: Any, words: str) -> None:
    (soak,) = soaked([a_line(number, **grows(number)) for number in range(6)])
    assert words in "; ".join(soak.problems)


def test_another_appliance_begins_anew_and_requests_add_up(tmp_path: Path) -> None:
    path = tmp_path / "soak.jsonl"
    lines = [a_line(0), a_line(1, appliance="2026-01-02T00:00:00+00:00", taken=taken(files=900))]
    for line in lines:
        SoakResults(path).append(line)
    again = SoakResults(path)
    assert again.done(lines[0].configuration, lines[0].origin) == 2000
    assert [one.problems for one in soaked(again.lines)] == [[], []]
    path.write_text("{}\n")
    with pytest.raises(BadResults, match="Line 1"):
        SoakResults(path)


def test_a_process_goes_by_its_module() -> None:
    assert kind_of(["/bin/python", "-m", "engine.worker", "/run"]) == "engine.worker"
    assert kind_of(["/bin/nvidia-cuda-mps-control", "-d"]) == kind_of(["x", "-m"]) == "other"
