"""What became of requests around a fault, who is struck, and how blocks of faults add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.faults.draw import Draw
from bench.faults.point import PLACES, losses
from bench.faults.result import FaultConfiguration, FaultLine, FaultResults, Injected
from bench.faults.table import rows, summaries
from bench.faults.verdict import EQUAL, OWN, REFUSED, Asked, silences, verdict_on
from bench.faults.victim import USUAL, Victim, candidates
from bench.faults.whole_reader import WholeReader
from bench.machine import Machine
from bench.record import Record
from bench.report import report
from bench.results import BadResults, Origin
from engine.fault_point import FaultPoint

KNOWN = [[4, 5, 6], [7, 8]]


def asked(failure: str | None, token_ids: list[int], **about: Any) -> Asked:
    record = Record(0.0, 2, 3, sent=1.0, failure=failure, token_ids=token_ids)
    return Asked(0, True, record, **{"ended": 5.0, **about})


@pytest.mark.parametrize(
    ("one", "kind", "is_accepted", "is_fault"),
    [
        (asked(None, [4, 5, 6]), EQUAL, True, False),
        (asked(None, [4, 9, 6]), "tokens changed", True, True),
        (asked("wrong length", [4, 5]), "tokens lost", True, True),
        (asked("HTTP 503", []), REFUSED, False, False),
        (asked("HTTP 503", [], ended=70.0), "lost: HTTP 503", True, True),
        (asked("no connection", []), REFUSED, False, False),
        (asked("error event", [4]), "lost: error event", True, True),
        (asked("cut off", [4]), "lost: cut off", True, True),
        (asked("cut off", [4], is_own=True), OWN, True, False),
        (asked("unfinished", [], ended=None), "lost: unfinished", True, True),
    ],
)
def test_only_the_undisturbed_answer_is_as_it_should_be(
    one: Asked, kind: str, is_accepted: bool, is_fault: bool
) -> None:
    verdict = verdict_on(one, KNOWN)
    assert (verdict.kind, verdict.is_accepted, verdict.is_fault) == (kind, is_accepted, is_fault)


def streaming(*events: float, sent: float = 1.0, ended: float | None = 30.0, **about: Any) -> Asked:
    return Asked(0, True, Record(0.0, 1, 1, sent=sent, events=list(events)), ended=ended, **about)


def test_a_silence_is_the_longest_from_the_fault_on_and_of_streams_that_waited() -> None:
    waiting = [streaming(9.9, 10.01, 13.0, 13.1, 29.0), streaming(17.0, sent=9.0)]
    assert silences(waiting, at=10.0, until=14.0) == pytest.approx([15.9, 7.0]), "what began before counts whole"
    assert silences(waiting, at=10.0, until=12.0) == pytest.approx([2.99, 7.0])
    others = [
        streaming(9.9, ended=9.95),
        streaming(12.0, sent=11.0),
        streaming(9.9),
        streaming(10.5, 11.0, is_own=True),
        Asked(0, False, Record(0.0, 1, 1, sent=1.0, events=[12.0]), ended=12.0),
    ]
    assert silences(others, at=10.0, until=14.0) == []


# ── victims ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_seed_gives_the_same_victims_and_all_of_them() -> None:
    drawn = [[Draw(USUAL, seed).next(number)[0] for number in range(40)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0]) == set(USUAL)


def test_what_the_appliance_bears_so_often_a_minute_is_struck_no_more_often() -> None:
    now = [100.0]
    draw = Draw([Victim.SCHEDULER, Victim.RESIDENT], 1, lambda: now[0], lambda seconds: now.append(now.pop() + seconds))
    struck = list[float]()
    for number in range(9):
        draw.next(number)
        struck.append(now[0])
    assert len(set(struck)) == 3, "three at once, then none for a minute"
    assert all(later - sooner >= 60.0 for sooner, later in zip(struck, struck[3:], strict=False))


def test_points_are_struck_in_rounds_and_two_losses_at_once_count_as_two() -> None:
    now = [100.0]
    rest = lambda seconds: now.append(now.pop() + seconds)  # noqa: E731
    draw = Draw(list(PLACES), 1, lambda: now[0], rest, in_rounds=True)
    drawn = [draw.next(number)[0] for number in range(2 * len(PLACES))]
    assert set(drawn[: len(PLACES)]) == set(drawn[len(PLACES) :]) == set(PLACES)
    assert losses(FaultPoint.SCHEDULER_ADOPTED) == [Victim.SCHEDULER] * 2
    assert losses(FaultPoint.PREFILL_WRITTEN) == []
    alone = Draw([FaultPoint.SCHEDULER_ADOPTED], 1, lambda: now[0], rest)
    alone.next(0)
    began = now[0]
    alone.next(1)
    assert now[0] - began >= 60.0


def test_every_point_is_somebodys_but_the_controllers() -> None:
    assert {point for point in FaultPoint if point not in PLACES} == {
        point for point in FaultPoint if point.startswith("controller")
    }


def test_a_victim_is_found_by_what_the_controller_says() -> None:
    status = {
        "processes": {"leader-a": 1, "leader-b": 2, "scheduler": 3, "console": 4, "resident": 5},
        "spares": {"b": [6, 7]},
        "scheduler": {
            "workers": [
                {"pid": 8, "phases": ("prefill",), "is_active": True},
                {"pid": 9, "phases": ("decode",), "is_active": True},
                {"pid": 10, "phases": ("decode",), "is_active": False},
            ]
        },
    }
    found = {victim: candidates(victim, status) for victim in Victim if victim is not Victim.GATEWAY_WORKER}
    assert found == {
        Victim.PREFILL: [8],
        Victim.DECODE: [9],
        Victim.SPARE: [6, 7],
        Victim.LEADER: [1, 2],
        Victim.SCHEDULER: [3],
        Victim.CONSOLE: [4],
        Victim.RESIDENT: [5],
    }


# ── answers that are not streamed ───────────────────────────────────────────────────────────────────────────────────


def whole(status: str, body: dict[str, Any], cut: int = 0) -> Record:
    record = Record(0.0, 2, 3, token_ids=[])
    reader, content = WholeReader(record), json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    data = head + content
    reader.feed(data[:60], 1.0)
    reader.feed(data[60 : len(data) - cut], 2.0)
    reader.end()
    return record


ANSWER = {"choices": [{"token_ids": [4, 5, 6]}], "usage": {"prompt_tokens": 2, "completion_tokens": 3}}


def test_a_whole_answer_gives_its_tokens_at_once() -> None:
    record = whole("200 OK", ANSWER)
    assert (record.failure, record.token_ids, record.events) == (None, [4, 5, 6], [2.0])


@pytest.mark.parametrize(
    ("status", "body", "cut", "failure"),
    [
        ("503 Service Unavailable", {"error": {}}, 0, "HTTP 503"),
        ("200 OK", ANSWER, 1, "cut off"),
        ("200 OK", {"choices": []}, 0, "no JSON"),
        ("200 OK", ANSWER | {"usage": {"prompt_tokens": 2, "completion_tokens": 2}}, 0, "wrong length"),
    ],
)
def test_a_whole_answer_that_is_none_says_why(status: str, body: dict[str, Any], cut: int, failure: str) -> None:
    assert whole(status, body, cut).failure == failure


# ── the results file ────────────────────────────────────────────────────────────────────────────────────────────────

ORIGIN = Origin("2026-01-01T00:00:00+00:00", "python -m bench.faults kill", Machine({}, "3.11.0", 2))
CONFIGURATION = FaultConfiguration("kill", "demo on cpu by duty", 0, 4, 2, 2, ("prefill", "scheduler"), 0.0, 0.25)


def a_line(**changes: Any) -> FaultLine:
    fields: dict[str, Any] = {
        "origin": ORIGIN,
        "configuration": CONFIGURATION,
        "faults": (
            Injected(0, "prefill", 6, (0.1, 0.9), served_seconds=0.5, redundant_seconds=4.0),
            Injected(1, "scheduler", 5, (3.0,), problem="It had not recovered after 120 s."),
        ),
        "requests": 30,
        "verdicts": {EQUAL: 26, REFUSED: 3, OWN: 1},
        "tokens": 1000,
        "seconds": 60.0,
        "pages_left": 0,
        "load_average": 2.5,
    }
    return FaultLine(**fields | changes)


def test_blocks_add_up_to_a_row_a_kind_and_one_for_all() -> None:
    (summed,) = summaries([a_line(), a_line(verdicts={EQUAL: 29, "lost: cut off": 1}, pages_left=3)])
    prefill, scheduler, everything = rows(summed)
    assert prefill == (
        "prefill",
        "2",
        "0",
        "12",
        "0.10 / 0.90 / 0.90",
        "0.50 / 0.50 / 0.50",
        "4.00 / 4.00 / 4.00",
    )
    assert scheduler[:4] == ("scheduler", "2", "2", "10") and scheduler[5:] == ("–", "–")
    assert everything[:4] == ("all", "4", "2", "22")
    assert "60 requests: 57 accepted, of which 55 had the undisturbed answer, 1 ended with" in summed.sentence
    assert "1 were lost or wrong; 1 lost: cut off." in summed.sentence
    assert "3 were refused with 503 before. Pages in use after each block: 0, 3." in summed.sentence


def test_the_report_has_a_table_of_faults_and_its_commands() -> None:
    page = report([], faults=[a_line()])
    assert "| scheduler | 1 | 1 | 5 | 3.00 / 3.00 / 3.00 | – | – |" in page
    assert "python -m bench.faults kill    # 2026-01-01" in page
    assert "Nothing has been measured yet" not in page


def test_what_was_done_is_found_again_and_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "faults.jsonl"
    FaultResults(path).append(a_line())
    again = FaultResults(path)
    assert again.done(CONFIGURATION, ORIGIN) == 2
    assert again.done(CONFIGURATION, Origin("", "", Machine({}, "3.12.0", 2))) == 0
    path.write_text("{}\n")
    with pytest.raises(BadResults, match="Line 1"):
        FaultResults(path)
