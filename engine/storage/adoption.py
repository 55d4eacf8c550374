"""Which pages of a former writer's ledger a new one keeps. Pure: it changes nothing.

To be asked when every process that could write the pages has ended. What was committed had been written and seen to be
written; what is not is computed again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from engine.storage.content import BYTES
from engine.storage.ledger import Ledger

_NOT_SAID = bytes(BYTES)


class PageRecord(NamedTuple):
    """A page that somebody held."""

    page: int
    is_committed: bool
    content: bytes


def records_of(ledger: Ledger) -> list[PageRecord]:
    """The pages in use."""
    return [PageRecord(page, ledger.is_committed(page), ledger.content(page)) for page in ledger.used_pages()]


def adoptable(records: Iterable[PageRecord]) -> dict[bytes, int]:
    """Content → the one page that is kept for it: the first that is committed and says what it holds."""
    adopted: dict[bytes, int] = {}
    for record in records:
        if record.is_committed and record.content != _NOT_SAID:
            adopted.setdefault(record.content, record.page)
    return adopted
