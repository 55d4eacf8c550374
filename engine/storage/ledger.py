"""The page ledger: who holds which page, in memory that outlives its one writer. No torch, no decisions.

The scheduler is the only one that writes. Whoever reads the ledger in its stead does so after the writer has ended, at
any instant: every verb therefore writes in an order that leaves each page's record true after every single store.

    header    0  magic         8 bytes
              8  layout        u32
             12  pages         u32
             16  handled       u64   the request that the writer is taking in, 0 for none
             24  suspect       u64   the one that was being taken in when the last writer ended with one in its hands
             32  implicated    u32   how many writers in a row have ended so with `suspect`
             36  unused
    record   64 + 32 · page
              0  owner         u64   request id, 0 where nobody owns the page
              8  epoch         u32   of the group that may write the page
             12  references    u16   0: the page is free, whatever the other fields say
             14  committed     u16   1: every token of the page is written and may be read by others
             16  content       16 bytes, of a committed page: which tokens, after which (`contents`); 0: not said
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.errors import SemiPDError

MAGIC = b"SEMIPDLG"
LAYOUT_VERSION = 2
MAX_REFERENCES = 0xFFFF

_SUSPICION = [("handled", "<u8"), ("suspect", "<u8"), ("implicated", "<u4")]
_HEADER = np.dtype([("magic", "S8"), ("layout", "<u4"), ("pages", "<u4"), *_SUSPICION, ("unused", "V28")])
RECORD = np.dtype(
    [("owner", "<u8"), ("epoch", "<u4"), ("references", "<u2"), ("committed", "<u2"), ("content", "<u8", (2,))]
)

Pages = Sequence[int] | NDArray[np.integer[Any]]


class Ledger:
    """The records of pages 1 … `num_pages` − 1; page 0 belongs to nobody and is neither free nor used.

    Every verb takes the pages of one call at once; they must be distinct. A call that is interrupted has changed some
    of its pages and left the others as they were, each one's record whole.
    """

    def __init__(self, buffer: memoryview):
        self.header = np.frombuffer(buffer, dtype=_HEADER, count=1)
        header = self.header[0]
        records = np.frombuffer(buffer, dtype=RECORD, offset=_HEADER.itemsize, count=int(header["pages"]))
        self.num_pages = len(records)
        self._owner = records["owner"]
        self._epoch = records["epoch"]
        self._references = records["references"]
        self._committed = records["committed"]
        self._content = records["content"]

    @staticmethod
    def bytes_for(num_pages: int) -> int:
        """Bytes of a ledger of `num_pages` pages, page 0 included."""
        return _HEADER.itemsize + num_pages * RECORD.itemsize

    @classmethod
    def create(cls, buffer: Any, num_pages: int) -> Self:
        """An empty ledger over a writable buffer, whatever it held before. Raises `SemiPDError` if it is too small."""
        view = memoryview(buffer).cast("B")
        if len(view) < cls.bytes_for(num_pages):
            raise SemiPDError(f"A ledger of {num_pages} pages needs {cls.bytes_for(num_pages)} bytes, not {len(view)}.")
        view[: cls.bytes_for(num_pages)] = bytes(cls.bytes_for(num_pages))
        header = np.frombuffer(view, dtype=_HEADER, count=1)
        header["layout"] = LAYOUT_VERSION
        header["pages"] = num_pages
        header["magic"] = MAGIC  # last: a ledger is one only when all of it is there
        return cls(view)

    @classmethod
    def open(cls, buffer: Any) -> Self:
        """The ledger another process has created. Raises `SemiPDError` for bytes that are none of this layout."""
        view = memoryview(buffer).cast("B")
        if len(view) < _HEADER.itemsize:
            raise SemiPDError(f"These {len(view)} bytes are too few for a page ledger.")
        header = np.frombuffer(view, dtype=_HEADER, count=1)[0]
        if header["magic"] != MAGIC:
            raise SemiPDError("This memory holds no page ledger.")
        if header["layout"] != LAYOUT_VERSION:
            raise SemiPDError(f"The page ledger has layout {header['layout']}, this process reads {LAYOUT_VERSION}.")
        if len(view) < cls.bytes_for(int(header["pages"])):
            raise SemiPDError(f"The page ledger is cut off: {header['pages']} pages do not fit in {len(view)} bytes.")
        return cls(view)

    def keep(self, pages: Pages, owner: int) -> None:
        """`pages`, which are committed, are `owner`'s, with one reference; every other page is free.

        For a writer that begins, when nobody computes on the pages. Interrupted, it can be begun again.
        """
        at = self._at(pages)
        assert self._references[at].all() and self._committed[at].all(), "only what is committed can be kept"
        kept = np.zeros(self.num_pages, dtype=np.bool_)
        kept[[0, *at.tolist()]] = True
        self._references[~kept] = 0
        self._epoch[at] = 0
        self._owner[at] = owner
        self._references[at] = 1

    # ── verbs ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, pages: Pages, owner: int, epoch: int) -> None:
        """Free pages become `owner`'s, with one reference and nothing committed."""
        at = self._at(pages)
        assert owner > 0, "owner 0 is nobody"
        assert not self._references[at].any(), "only a free page can be taken"
        # References last: a page counts as taken only when it is known whose it is.
        self._committed[at] = 0
        self._content[at] = 0
        self._epoch[at] = epoch
        self._owner[at] = owner
        self._references[at] = 1

    def share(self, pages: Pages) -> None:
        """One more request reads these pages."""
        at = self._at(pages)
        counts = self._references[at]
        assert counts.all(), "a free page cannot be shared"
        assert (counts < MAX_REFERENCES).all(), "a page has too many readers"
        self._references[at] = counts + np.uint16(1)

    def drop(self, pages: Pages) -> list[int]:
        """One request less holds these pages. Returns those that nobody holds now, in the order given."""
        at = self._at(pages)
        counts = self._references[at]
        assert counts.all(), "a free page cannot be dropped"
        # References first: from here on a page at 0 is free, and what still stands in its record means nothing.
        self._references[at] = counts - np.uint16(1)
        freed = at[counts == 1]
        self._committed[freed] = 0
        self._owner[freed] = 0
        return freed.tolist()

    def commit(self, pages: Pages, contents: Sequence[bytes] = ()) -> None:
        """Every token of these pages is written: others may read them. `contents`: 16 bytes a page, or of none."""
        at = self._at(pages)
        assert self._references[at].all(), "a free page cannot be committed"
        if contents:
            self._content[at] = np.frombuffer(b"".join(contents), dtype="<u8").reshape(len(at), 2)
        self._committed[at] = 1  # last: what is committed says what it holds

    def hand_over(self, pages: Pages, owner: int, epoch: int) -> None:
        """These pages are `owner`'s now, and the group of `epoch` may write them."""
        at = self._at(pages)
        assert owner > 0, "owner 0 is nobody"
        assert self._references[at].all(), "a free page cannot be handed over"
        # Owner last: until then the page is the old owner's, as if nothing had been handed over; the epoch that may
        # write it is the younger one in either case.
        self._epoch[at] = epoch
        self._owner[at] = owner

    # ── readers ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def references(self, page: int) -> int:
        """How many requests hold the page."""
        return int(self._references[page])

    def owner(self, page: int) -> int:
        """The request that owns the page, 0 if it is free."""
        return 0 if self.is_free(page) else int(self._owner[page])

    def epoch(self, page: int) -> int:
        """The epoch of the group that may write the page; without meaning while the page is free."""
        return int(self._epoch[page])

    def is_committed(self, page: int) -> bool:
        """Whether others may read the page."""
        return not self.is_free(page) and bool(self._committed[page])

    def content(self, page: int) -> bytes:
        """What a committed page holds; 16 zeros where that was not said."""
        return self._content[page].tobytes()

    def is_free(self, page: int) -> bool:
        """Whether nobody holds the page. Page 0 is never free."""
        return page != 0 and not self._references[page]

    def free_pages(self) -> list[int]:
        """The pages nobody holds, ascending."""
        return (np.flatnonzero(self._references[1:] == 0) + 1).tolist()

    def used_pages(self) -> list[int]:
        """The pages somebody holds, ascending."""
        return np.flatnonzero(self._references).tolist()

    def _at(self, pages: Pages) -> NDArray[np.intp]:
        at = np.asarray(pages, dtype=np.intp)
        assert len(set(at.tolist())) == len(at), "the pages of one call must be distinct"
        assert not len(at) or (at.min() > 0 and at.max() < self.num_pages), "page 0, or a page that does not exist"
        return at
