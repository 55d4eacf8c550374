"""Who holds which pages. The only place where pages are given and taken back; no I/O, no clock, no torch.

All or nothing for a request, any free page serves any request (so nothing fragments), and every change goes through the
ledger, from which another allocator can start where this one stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class PageLedger(Protocol):
    """The record of every page's owner, epoch, references and commitment: see engine.storage.ledger."""

    def free_pages(self) -> list[int]: ...
    def take(self, pages: Sequence[int], owner: int, epoch: int) -> None: ...
    def share(self, pages: Sequence[int]) -> None: ...
    def drop(self, pages: Sequence[int]) -> list[int]: ...
    def commit(self, pages: Sequence[int]) -> None: ...
    def hand_over(self, pages: Sequence[int], owner: int, epoch: int) -> None: ...


class PageAllocator:
    """Page tables of all live requests over one pool. Page 0 is never given out: padding writes there."""

    def __init__(self, ledger: PageLedger, page_size: int):
        self._ledger = ledger
        self.page_size = page_size
        self._free = [page for page in ledger.free_pages() if page != 0]
        self._free.reverse()  # the lowest pages are given first
        self.total_pages = len(self._free)
        self._tables: dict[int, list[int]] = {}

    @property
    def free_count(self) -> int:
        return len(self._free)

    def pages_for(self, tokens: int) -> int:
        """Pages that hold `tokens` tokens."""
        return -(-tokens // self.page_size)

    def table(self, owner: int) -> list[int]:
        """The page table of `owner` from position 0; empty if it holds nothing."""
        return self._tables.get(owner, [])

    def capacity(self, owner: int) -> int:
        """Tokens the pages of `owner` can hold."""
        return len(self.table(owner)) * self.page_size

    def allocate(self, owner: int, count: int, epoch: int) -> list[int] | None:
        """Append `count` pages to the table of `owner` and return them; None, and nothing changed, if they are not free."""
        if count > len(self._free):
            return None
        if count == 0:
            return []
        pages = self._free[-count:][::-1]
        self._ledger.take(pages, owner, epoch)
        del self._free[-count:]
        self._tables.setdefault(owner, []).extend(pages)
        return pages

    def commit(self, owner: int, tokens: int) -> None:
        """The first `tokens` tokens of `owner` are written: its pages that are full may be read by others."""
        self._ledger.commit(self.table(owner)[: tokens // self.page_size])

    def hand_over(self, owner: int, epoch: int) -> None:
        """The pages of `owner` are now written by another worker, of `epoch`."""
        self._ledger.hand_over(self.table(owner), owner, epoch)

    def release(self, owner: int) -> int:
        """Take back everything `owner` holds; pages that others share stay theirs. Returns how many became free."""
        pages = self._tables.pop(owner, [])
        if not pages:
            return 0
        freed = self._ledger.drop(pages)
        self._free.extend(reversed(freed))
        return len(freed)
