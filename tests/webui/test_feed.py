"""One look for all who watch, and streams that end when they should."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from webui import feed as feed_module
from webui.feed import MOST_WATCHERS, Feed, TooManyWatchers, stream
from webui.logs.files import LogFiles
from webui.logs.line import LogFilter


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "LOOK_SECONDS", 0.001)


def counting() -> Feed:
    looks = itertools.count(1)
    return Feed(lambda: {"look": next(looks)})


def said(event: str) -> Any:
    return json.loads(event.split("data: ", 1)[1])


def test_all_who_watch_see_the_same_looks() -> None:
    feed = counting()
    streams = [stream(feed, lambda: True) for _ in range(20)]
    firsts = [said(next(one))["look"] for one in streams]
    for one, first in zip(streams, firsts, strict=True):
        assert [said(next(one))["look"] for _ in range(5)] == list(range(first + 1, first + 6))
    feed.close()


def test_nobody_watching_means_no_look() -> None:
    looked = threading.Event()

    def look() -> dict:
        looked.set()
        return {}

    feed = Feed(look)
    assert not looked.is_set()
    watching = stream(feed, lambda: True)
    next(watching)
    assert looked.is_set()
    feed.close()


def test_a_stream_ends_with_the_feed_and_with_the_log_in() -> None:
    feed = counting()
    until_closed = stream(feed, lambda: True)
    next(until_closed)
    assert len(list(stream(feed, lambda: False))) == feed_module.WELCOME_EVERY - 1
    feed.close()
    assert len(list(until_closed)) <= feed_module.BEHIND


def test_there_are_only_so_many() -> None:
    feed = counting()
    streams = [stream(feed, lambda: True) for _ in range(MOST_WATCHERS)]
    with pytest.raises(TooManyWatchers):
        stream(feed, lambda: True)
    next(streams[0])
    streams[0].close()
    next(stream(feed, lambda: True))
    feed.close()


def test_a_look_that_fails_is_said_and_the_next_one_tried() -> None:
    answers = iter([ValueError("the disk is away"), None])

    def look() -> dict:
        if error := next(answers, None):
            raise error
        return {"look": "fine"}

    feed = Feed(look)
    watching = stream(feed, lambda: True)
    assert "the disk is away" in said(next(watching))["problem"]
    assert said(next(watching)) == {"look": "fine"}
    feed.close()


def test_log_lines_come_in_the_same_stream(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    log.write_text('{"event": "old", "level": "info", "timestamp": "2026-01-01T00:00:00Z"}\n')
    feed = counting()
    watching = stream(feed, lambda: True, LogFiles(tmp_path).follow(LogFilter()))
    next(watching)
    with log.open("a") as file:
        file.write('{"event": "new", "level": "info", "timestamp": "2026-01-01T00:00:01Z"}\n')
    event = next(one for one in watching if one.startswith("event: log"))
    assert [line["event"] for line in said(event)] == ["new"]
    feed.close()
