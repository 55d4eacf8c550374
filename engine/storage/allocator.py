"""Who holds which pages. The only place where pages are given and taken back; no I/O, no clock, no torch.

All or nothing for a request, any free page serves any request (so nothing fragments), and every change goes through the
ledger, so that it says at every instant who holds what. An allocator starts with the pages that are free there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Self

from engine.storage.adoption import adoptable, records_of
from engine.storage.content import contents
from engine.storage.ledger import Ledger
from engine.storage.prefix_tree import PrefixTree

CACHE_OWNER = (1 << 64) - 1
"""Owner of pages in the prefix tree: they are full, and nobody writes them any more."""


@dataclass(slots=True)
class PageTable:
    """Pages of one request from position 0. The first `read_only` of them belong to the prefix tree.

    `contents` of those that are known to be written, from the first on.
    """

    pages: list[int] = field(default_factory=list)
    read_only: int = 0
    contents: list[bytes] = field(default_factory=list)


class PageAllocator:
    """Page tables of all live requests over one pool. Page 0 is never given out: padding writes there."""

    def __init__(self, ledger: Ledger, page_size: int, *, prefix_caching: bool = False):
        self._ledger = ledger
        self._free = [page for page in ledger.free_pages() if page != 0]
        self._free.reverse()  # the lowest pages are given first
        self._tables: dict[int, PageTable] = {}
        self._tree = PrefixTree(page_size) if prefix_caching else None
        self._adopted: dict[bytes, int] = {}
        self.page_size = page_size
        self.total_pages = len(self._free)

    @classmethod
    def adopting(cls, ledger: Ledger, page_size: int, *, prefix_caching: bool = False) -> Self:
        """The next writer's, once nobody computes on the pages any more: what was committed is kept, all else free.

        What a kept page holds is known by its content alone, until somebody begins alike. Without prefix caching
        nothing is kept.
        """
        adopted = adoptable(records_of(ledger)) if prefix_caching else {}
        ledger.keep(list(adopted.values()), CACHE_OWNER)
        allocator = cls(ledger, page_size, prefix_caching=prefix_caching)
        allocator._adopted = adopted
        allocator.total_pages += len(adopted)
        return allocator

    @property
    def free_count(self) -> int:
        """Pages that can be given out, those included that are kept only because they might be read again."""
        return len(self._free) + self.cached_count

    @property
    def cached_count(self) -> int:
        """Pages that no request holds and that the prefix tree still knows, or a former writer did."""
        return self._tree.unread_count + len(self._adopted) if self._tree else 0

    def pages_for(self, tokens: int) -> int:
        """Pages that hold `tokens` tokens."""
        return -(-tokens // self.page_size)

    def table(self, owner: int) -> list[int]:
        """The page table of `owner` from position 0; empty if it holds nothing."""
        held = self._tables.get(owner)
        return held.pages if held else []

    # ── give and take ───────────────────────────────────────────────────────────────────────────────────────────────

    def allocate(self, owner: int, count: int, epoch: int) -> list[int] | None:
        """Append `count` pages to the table of `owner` and return them; None, and no change, if they are not free."""
        if count > self.free_count:
            return None
        if count == 0:
            return []
        self._evict(count - len(self._free))
        pages = self._free[-count:][::-1]
        self._ledger.take(pages, owner, epoch)
        del self._free[-count:]
        self._tables.setdefault(owner, PageTable()).pages.extend(pages)
        return pages

    def hand_over(self, owner: int, epoch: int) -> None:
        """What `owner` alone holds is from now on written by the group of `epoch`."""
        held = self._tables[owner]
        self._ledger.hand_over(held.pages[held.read_only :], owner, epoch)

    def release(self, owner: int) -> None:
        """Take back everything `owner` holds; pages that others read stay theirs."""
        held = self._tables.pop(owner, None)
        if held is None:
            return
        deepest_first = held.pages[::-1]
        self._free.extend(self._ledger.drop(deepest_first))
        if self._tree is not None:
            kept = (page for page in deepest_first if page in self._tree)
            self._tree.unread(page for page in kept if self._ledger.references(page) == 1)

    # ── sharing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def known_pages(self, salt: str, token_ids: Sequence[int]) -> list[int]:
        """Committed pages that hold the beginning of `token_ids`."""
        if self._tree is None:
            return []
        known = self._tree.match(salt, token_ids)
        return known + self._recognise(salt, token_ids, known) if self._adopted else known

    def _recognise(self, salt: str, token_ids: Sequence[int], known: list[int]) -> list[int]:
        """Adopted pages that hold what comes after `known`: from now on the prefix tree knows their tokens."""
        assert self._tree is not None
        found: list[int] = []
        after_known = islice(contents(salt, token_ids, self.page_size, end=len(token_ids) - 1), len(known), None)
        for content in after_known:
            page = self._adopted.pop(content, None)
            if page is None:
                break
            found.append(page)
        end = (len(known) + len(found)) * self.page_size
        self._tree.insert(salt, token_ids[:end], known + found)
        above = [page for page in reversed(known) if self._ledger.references(page) == 1]
        self._tree.read(above)  # those above have been unread longer, and may not be evicted first
        self._tree.unread([*reversed(found), *above])
        return found

    def begin_with(self, owner: int, pages: Sequence[int]) -> None:
        """The table of `owner`, which holds nothing yet, begins with pages of the prefix tree."""
        assert owner not in self._tables
        if pages:
            assert self._tree is not None
            self._ledger.share(pages)
            self._tree.read(pages)
            self._tables[owner] = PageTable(list(pages), read_only=len(pages))

    def commit(self, owner: int, salt: str, token_ids: Sequence[int]) -> None:
        """`token_ids` are written from position 0: the pages they fill may be read by others from now on."""
        full = len(token_ids) // self.page_size
        held = self._tables[owner]
        self.note_written(owner, salt, token_ids, len(token_ids))
        if self._tree is None or full <= held.read_only:
            return
        new = self._tree.insert(salt, token_ids, held.pages[:full])
        if new:
            self._ledger.share(new)
            self._ledger.hand_over(new, CACHE_OWNER, 0)
            held.read_only += len(new)

    def note_written(self, owner: int, salt: str, token_ids: Sequence[int], written: int) -> None:
        """The first `written` tokens are: whoever writes the ledger next may keep the pages they fill.

        Nobody else reads them before they are committed.
        """
        held, full = self._tables[owner], written // self.page_size
        if full <= len(held.contents):
            return
        done = len(held.contents)
        held.contents += contents(salt, token_ids, self.page_size, held.contents, written)
        since = max(done, held.read_only)
        self._ledger.commit(held.pages[since:full], held.contents[since:full])

    def forget_cached(self) -> int:
        """Free every page that is kept only because it might be read again; returns how many that were."""
        return self._evict(self.cached_count)

    def _evict(self, count: int) -> int:
        if count <= 0 or self._tree is None:
            return 0
        unrecognised = list(islice(self._adopted, count))  # first: nobody of this writer has asked for them
        pages = [self._adopted.pop(content) for content in unrecognised]
        pages += self._tree.evict(count - len(pages))
        self._free.extend(self._ledger.drop(pages))
        return len(pages)
