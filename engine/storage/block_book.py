"""Whose blocks are whose: requests over the page allocator, and who may read and write what. No I/O, no torch.

For those outside, blocks are numbered from 0: block n is page n + 1 of the ledger, whose page 0 belongs to nobody. In
the ledger a page's owner is the lease of the request that may write it, and its epoch tells the role it serves.

Nobody reads what somebody writes: before its commit a block is mapped by its writer alone, after it by readers alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.config import InstanceRole
from engine.storage.allocator import PageAllocator
from engine.storage.ledger import MAX_REFERENCES, Ledger
from engine.storage.messages import Location, StorageStatistics
from engine.storage.refusals import (
    HeldElsewhere,
    NotCommitted,
    NotEnoughBlocks,
    NotWritable,
    SharingRefused,
    UnknownRequest,
)

_EPOCH = {InstanceRole.PREFILL: 1, InstanceRole.DECODE: 2}


@dataclass(slots=True)
class Held:
    """A request that holds blocks. `lease` is never used again; `term` changes when the request changes hands."""

    request_id: str
    lease: int
    holder: int
    term: int = 1
    is_handed_over: bool = False


class BlockBook:
    """All requests' blocks. `holder` is the number of the connection that asks. A verb does all of it or nothing."""

    def __init__(self, ledger: Ledger, *, decode_reserve_blocks: int, prefix_caching: bool):
        self._ledger = ledger
        self._allocator = PageAllocator(ledger, page_size=1, prefix_caching=prefix_caching)
        self._decode_reserve = decode_reserve_blocks
        self._prefix_caching = prefix_caching
        self._requests: dict[str, Held] = {}
        self._by_lease: dict[int, Held] = {}
        self._leases = itertools.count(1)
        self._readers: dict[int, list[int]] = {}
        """Leases that hold a page, for pages that more than one holds; the first is the owner."""

    # ── give and take ───────────────────────────────────────────────────────────────────────────────────────────────

    def allocate(self, holder: int, request_id: str, count: int, role: InstanceRole) -> list[int]:
        """Append `count` blocks to the request's, which begins with them if it holds none yet."""
        known = request_id in self._requests
        held = self._own(holder, request_id) if known else Held(request_id, next(self._leases), holder)
        pages = self._allocator.allocate(held.lease, count, _EPOCH[role]) if count <= self._room(role) else None
        if pages is None:
            raise NotEnoughBlocks(self._shortage(request_id, count, role))
        if pages and not known:
            self._enter(held)
        return _blocks(pages)

    def deallocate(self, holder: int, request_id: str) -> bool:
        """Take back all blocks of the request; those others share stay theirs. False if it holds none."""
        if request_id not in self._requests:
            return False
        self._release(self._own(holder, request_id))
        return True

    def end(self, holder: int) -> None:
        """The connection has ended: what it held comes back."""
        for held in [held for held in self._requests.values() if held.holder == holder]:
            self._release(held)

    # ── from writer to readers ──────────────────────────────────────────────────────────────────────────────────────

    def commit(self, holder: int, request_id: str, count: int | None) -> bool:
        """The request's first `count` blocks, or all, are written. False if others are to commit all of them."""
        held = self._own(holder, request_id)
        written = self._owned(held, self._allocator.table(held.lease)[:count])
        self._ledger.commit(written)
        return bool(written)

    def share(self, holder: int, source_id: str, target_id: str) -> bool:
        """The target begins with all blocks the source holds now. False if the source holds none."""
        if not self._prefix_caching:
            raise SharingRefused("Blocks cannot be shared: the storage was made with enable_prefix_caching=False.")
        source = self._requests.get(source_id)
        if source is None:
            return False
        if target_id in self._requests:
            raise SharingRefused(f"Request {target_id!r} holds blocks already: shared ones are a request's first.")
        pages = self._allocator.table(source.lease)
        if any(self._ledger.references(page) == MAX_REFERENCES for page in pages):
            raise SharingRefused(f"Blocks of request {source_id!r} are shared by {MAX_REFERENCES} requests already.")
        target = Held(target_id, next(self._leases), holder)
        self._allocator.begin_with(target.lease, pages)
        for page in pages:
            self._readers.setdefault(page, [source.lease]).append(target.lease)
        self._enter(target)
        return True

    def hand_over(self, holder: int, request_id: str) -> None:
        """The blocks of the request serve decode from now on, and any connection may take them over."""
        held = self._own(holder, request_id)
        owned = self._owned(held, self._allocator.table(held.lease))
        self._ledger.hand_over(owned, held.lease, _EPOCH[InstanceRole.DECODE])
        held.is_handed_over = True

    def take_over(self, holder: int, request_id: str) -> list[int]:
        """The request is this connection's; handles for writing that were given out before are void."""
        held = self._known(request_id)
        if not held.is_handed_over:
            raise HeldElsewhere(f"Request {request_id!r} cannot be taken over: it has not been handed over.")
        held.holder = holder
        held.term += 1
        held.is_handed_over = False
        return _blocks(self._allocator.table(held.lease))

    # ── mapping ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def locate(self, holder: int, request_id: str) -> Location:
        """The request's blocks; only its holder is given the term, with which they can be written."""
        held = self._known(request_id)
        pages = self._allocator.table(held.lease)
        committed = [self._ledger.is_committed(page) for page in pages]
        return Location(held.lease, held.term if held.holder == holder else None, _blocks(pages), committed)

    def check_mappable(self, lease: int, term: int | None, block_ids: Iterable[int], writing: bool) -> None:
        """Raises unless the bearer of this lease and term may read, or write, all of these blocks now."""
        held = self._by_lease.get(lease)
        pages = [block_id + 1 for block_id in block_ids]
        if held is None or not set(pages) <= set(self._allocator.table(lease)):
            raise UnknownRequest("The blocks of these handles have been deallocated.")
        if writing and (held.is_handed_over or term != held.term):
            raise NotWritable(f"Request {held.request_id!r} is another's to write: these handles can only be read.")
        for page in pages:
            self._check_writable(held, page) if writing else self._check_readable(held, page)

    def _check_readable(self, held: Held, page: int) -> None:
        if not self._ledger.is_committed(page):
            raise NotCommitted(
                f"Block {page - 1} of request {held.request_id!r} cannot be read: its writer has not committed it."
            )

    def _check_writable(self, held: Held, page: int) -> None:
        if self._ledger.is_committed(page):
            raise NotWritable(f"Block {page - 1} of request {held.request_id!r} is committed: nobody writes it now.")
        if self._ledger.owner(page) != held.lease:
            raise NotWritable(f"Block {page - 1} is shared with request {held.request_id!r}: its source writes it.")

    # ── counts ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def statistics(self, connections: int) -> StorageStatistics:
        """Blocks at this instant: the used ones as the ledger has them, the free ones as the allocator would give."""
        ledger = self._ledger
        used = ledger.used_pages()
        epochs = [ledger.epoch(page) for page in used]
        return StorageStatistics(
            total_blocks=self._allocator.total_pages,
            free_blocks=self._allocator.free_count,
            used_blocks=len(used),
            shared_blocks=sum(ledger.references(page) > 1 for page in used),
            committed_blocks=sum(ledger.is_committed(page) for page in used),
            prefill_blocks=epochs.count(_EPOCH[InstanceRole.PREFILL]),
            decode_blocks=epochs.count(_EPOCH[InstanceRole.DECODE]),
            requests=len(self._requests),
            connections=connections,
        )

    def _room(self, role: InstanceRole) -> int:
        """Blocks this role may have: decode, the principal, all that are free."""
        reserved = self._decode_reserve if role is InstanceRole.PREFILL else 0
        return max(0, self._allocator.free_count - reserved)

    def _shortage(self, request_id: str, count: int, role: InstanceRole) -> str:
        free = self._allocator.free_count
        kept = free - self._room(role)
        reserve = f", {kept} of them kept for decode" if kept else ""
        return (
            f"Request {request_id!r} asked for {count} blocks and {free} of {self._allocator.total_pages} are free"
            f"{reserve}."
        )

    # ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _enter(self, held: Held) -> None:
        self._requests[held.request_id] = self._by_lease[held.lease] = held

    def _known(self, request_id: str) -> Held:
        held = self._requests.get(request_id)
        if held is None:
            raise UnknownRequest(f"Request {request_id!r} holds no blocks.")
        return held

    def _own(self, holder: int, request_id: str) -> Held:
        held = self._known(request_id)
        if held.holder != holder:
            raise HeldElsewhere(
                f"Request {request_id!r} is held through another connection, which has to hand it over first."
            )
        return held

    def _owned(self, held: Held, pages: Sequence[int]) -> list[int]:
        """Those of these pages that the request may write; the others are shared with it."""
        return [page for page in pages if self._ledger.owner(page) == held.lease]

    def _release(self, held: Held) -> None:
        self._bequeath(held)
        self._allocator.release(held.lease)
        del self._requests[held.request_id], self._by_lease[held.lease]

    def _bequeath(self, held: Held) -> None:
        """What others share has always an owner that lives: the one who has shared it longest."""
        for page in self._allocator.table(held.lease):
            readers = self._readers.get(page)
            if readers is None:
                continue
            readers.remove(held.lease)
            self._ledger.hand_over([page], readers[0], self._ledger.epoch(page))
            if len(readers) == 1:
                del self._readers[page]


def _blocks(pages: Iterable[int]) -> list[int]:
    return [page - 1 for page in pages]
