"""What rounds with and without watchers say, and browsers without a screen before a real console."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest
from rich.console import Console
from werkzeug.serving import make_server

from bench.record import Record
from bench.watchers.__main__ import listed
from bench.watchers.audience import Audience, NobodyWatches
from bench.watchers.result import Round, TooFewAnswers, as_table, compared, figures
from bench.watchers.session import NoSession, Session, csrf_token
from bench.watchers.watching import SETTLED_LOOKS, Task
from tests.webui.stand import OWNER, PASSWORD, Stand


def answer(*gaps: float, failure: str | None = None) -> Record:
    events = list(accumulate(gaps, initial=0.0))
    return Record(0.0, 1, len(events), events=events, completion_tokens=len(events), failure=failure)


def pairs(*tpots_ms: float) -> list[Round]:
    return [Round(number % 2 == 1, [tpot / 1000], 0.05, 0.01) for number, tpot in enumerate(tpots_ms)]


def test_each_answer_has_its_time_per_token_and_the_longest_silence_is_anybodys() -> None:
    assert figures([answer(0.1, 0.1), answer(0.1, 0.5)]) == ([pytest.approx(0.1), pytest.approx(0.3)], 0.5)


def test_a_round_with_an_answer_cut_short_says_nothing() -> None:
    with pytest.raises(TooFewAnswers, match="Only 1 of 2"):
        figures([answer(0.1), answer(0.1, failure="unfinished")])


def test_each_watched_round_is_compared_with_its_neighbour() -> None:
    """A machine that grows slower all the while is no fault of the watchers."""
    found = compared(pairs(10, 10.5, 20, 21, 40, 42))
    assert [found.slower, found.lower, found.upper] == [pytest.approx(0.05)] * 3
    assert found.differ == pytest.approx(1.5)
    assert "5.0% more, half of the pairs between +5.0% and +5.0%" in found.sentence
    assert "5.0% less" in compared(pairs(20, 19, 40, 38)).sentence


def test_the_order_within_a_pair_does_not_matter() -> None:
    (calm, watched), rest = pairs(10, 11), pairs(20, 22)
    assert compared([watched, calm, *rest]) == compared([calm, watched, *rest])
    with pytest.raises(AssertionError):
        compared([calm, calm, *rest])


def test_the_table_has_a_row_for_each_kind() -> None:
    console = Console(width=160)
    with console.capture() as shown:
        console.print(as_table(pairs(10, 12, 11, 13), "20 pages"))
    nobody, watched = [line for line in shown.get().splitlines() if "10.0" in line or "12.0" in line]
    assert "nobody" in nobody and "10.0 11.0" in nobody
    assert "20 pages" in watched and "12.0 13.0" in watched


def test_a_page_without_a_token_is_no_console() -> None:
    assert csrf_token('<meta name="csrf-token" content="abc">') == "abc"
    with pytest.raises(NoSession, match="no console"):
        csrf_token("<html></html>")


@pytest.fixture
def console(runtime_dir: Path) -> Iterator[str]:
    with Stand(runtime_dir) as stand:
        stand.owner()
        server = make_server("127.0.0.1", 0, stand.app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        stand.services.feed.end_streams()
        server.shutdown()
        thread.join()
        server.server_close()


def test_streams_that_nobody_draws_see_looks_until_they_leave(console: str) -> None:
    session = Session.begin(console, OWNER, PASSWORD)
    with Audience(Task(session, 3)) as audience:
        assert audience.cpu_seconds() > 0
        looks = audience.leave()
    assert len(looks) == 3 and min(looks) >= SETTLED_LOOKS


@pytest.mark.long
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium: apt-get install chromium")
def test_pages_of_chromium_see_looks_too(console: str) -> None:
    session = Session.begin(console, OWNER, PASSWORD)
    with Audience(Task(session, 2, shutil.which("chromium") or "")) as audience:
        looks = audience.leave()
    assert len(looks) == 2 and min(looks) >= SETTLED_LOOKS


def test_in_spare_time_and_with_processors_of_their_own_they_watch_all_the_same(console: str) -> None:
    session, processor = Session.begin(console, OWNER, PASSWORD), max(os.sched_getaffinity(0))
    with Audience(Task(session, 2, in_spare_time=True, processors=(processor,))) as audience:
        assert os.sched_getscheduler(audience.process.pid) == os.SCHED_IDLE
        assert os.sched_getaffinity(audience.process.pid) == {processor}
        looks = audience.leave()
    assert len(looks) == 2 and min(looks) >= SETTLED_LOOKS


def test_processors_are_listed_as_taskset_does() -> None:
    assert listed("0,2-4") == (0, 2, 3, 4)
    assert listed("") == ()


def test_who_is_not_let_in_watches_nothing(console: str) -> None:
    with pytest.raises(NoSession, match="did not let ada in"):
        Session.begin(console, OWNER, "wrong")
    with pytest.raises(NobodyWatches), Audience(Task(Session(console, {}), 1)):
        raise AssertionError("a stranger watches")
