"""The live feed: one look a second at the appliance, however many browsers watch; none while nobody does."""

from __future__ import annotations

import itertools
import json
import logging
import queue
import threading
from collections.abc import Callable, Generator

from webui.logs.source import LogTail

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
WELCOME_EVERY = 10
"""Looks after which a stream makes sure that its browser is still logged in."""
MOST_WATCHERS = 40
BEHIND = 30
"""Looks that a browser may be behind before it is dropped; it comes back by itself."""


class TooManyWatchers(Exception):
    """Every stream takes a thread; pages ask now and then instead."""


class Feed:
    """`look` is called once a second and returns JSON-able data."""

    def __init__(self, look: Callable[[], dict]):
        self._look = look
        self._watchers: set[queue.Queue[str | None]] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self) -> queue.Queue[str | None]:
        """A queue with one JSON text a look and None at the end; give it back to `leave`. Raises `TooManyWatchers`."""
        watcher: queue.Queue[str | None] = queue.Queue(BEHIND)
        with self._lock:
            if len(self._watchers) >= MOST_WATCHERS or self._is_closed.is_set():
                raise TooManyWatchers
            self._watchers.add(watcher)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
                self._thread.start()
        self._wake.set()
        return watcher

    def leave(self, watcher: queue.Queue[str | None]) -> None:
        with self._lock:
            self._watchers.discard(watcher)

    def end_streams(self) -> None:
        """For a signal handler too: it takes no lock that the interrupted thread may hold."""
        self._is_closed.set()
        self._wake.set()

    def close(self) -> None:
        """End every stream, and wait for the thread."""
        self.end_streams()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._is_closed.is_set():
            if self._watchers:
                self._tell(self._seen())
                self._is_closed.wait(LOOK_SECONDS)
            else:
                self._wake.wait()
                self._wake.clear()
        self._tell(None)

    def _seen(self) -> str:
        try:
            return json.dumps(self._look())
        except Exception as error:  # whatever it is, streams go on and say so
            log.exception("the live feed could not look")
            return json.dumps({"problem": f"The console cannot tell how the appliance is: {error}."})

    def _tell(self, text: str | None) -> None:
        with self._lock:
            for watcher in list(self._watchers):
                try:
                    watcher.put_nowait(text)
                except queue.Full:
                    self._watchers.discard(watcher)
                    watcher.get_nowait()
                    watcher.put_nowait(None)


def stream(feed: Feed, is_welcome: Callable[[], bool], tail: LogTail | None = None) -> Generator[str]:
    """Server-sent events until the feed ends, or the watcher is welcome no more: looks and, with a `tail`, log lines.

    Raises `TooManyWatchers`.
    """
    watcher = feed.watch()
    return _events(feed, watcher, is_welcome, tail)


def _events(
    feed: Feed, watcher: queue.Queue[str | None], is_welcome: Callable[[], bool], tail: LogTail | None
) -> Generator[str]:
    try:
        for count in itertools.count(1):
            text = watcher.get()
            if text is None or (count % WELCOME_EVERY == 0 and not is_welcome()):
                return
            yield f"data: {text}\n\n"
            if tail is not None and (lines := tail.added()):
                yield f"event: log\ndata: {json.dumps([line._asdict() for line in lines])}\n\n"
    finally:
        feed.leave(watcher)
        if tail is not None:
            tail.close()
