"""Which request a scheduler was taking in when it ended: one that ends two of them is not taken in a third time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from engine.storage.ledger import Ledger

MAX_IMPLICATED = 2
"""Schedulers that may end while they take in the same request; then it ends with an error, and they do not."""
REASON = "The engine ended twice while it took this request in; it is not tried again."


class Suspect(NamedTuple):
    """Request 0 is none."""

    request_id: int = 0
    implicated: int = 0


def next_suspect(before: Suspect, handled: int) -> Suspect:
    """Whom to suspect, when a scheduler has ended that had request `handled` in its hands, 0 for none."""
    if not handled:
        return before
    return Suspect(handled, before.implicated + 1 if handled == before.request_id else 1)


class Suspicion:
    """Kept in the ledger's header, which outlives the scheduler. To be made once by each of them, at its start.

    A scheduler that is killed from outside implicates whom it has in its hands at that instant, most often nobody.
    """

    def __init__(self, ledger: Ledger):
        self._header = ledger.header
        told = self._header[0]
        before = Suspect(int(told["suspect"]), int(told["implicated"]))
        self.suspect = next_suspect(before, int(told["handled"]))
        self._header["suspect"], self._header["implicated"] = self.suspect
        self._header["handled"] = 0

    def condemns(self, request_id: int) -> bool:
        """True for a request that is not to be taken in again."""
        return self.suspect.implicated >= MAX_IMPLICATED and self.suspect.request_id == request_id

    @contextmanager
    def of(self, request_id: int) -> Iterator[None]:
        """While the request is taken in. What ends in an exception ends the scheduler: then the word stays."""
        self._header["handled"] = request_id
        yield
        self._header["handled"] = 0
