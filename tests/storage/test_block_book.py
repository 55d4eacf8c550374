"""Whose blocks are whose: several connections against a model, and each refusal's sentence."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.config import InstanceRole
from engine.errors import SemiPDError
from engine.storage.block_book import BlockBook
from engine.storage.ledger import Ledger
from engine.storage.refusals import (
    HeldElsewhere,
    NotCommitted,
    NotEnoughBlocks,
    NotWritable,
    SharingRefused,
    UnknownRequest,
)

PREFILL, DECODE = InstanceRole
BLOCKS = 7
MINE, YOURS = 1, 2

holders = st.integers(1, 2)
names = st.sampled_from("abc")


def make(blocks: int = BLOCKS, reserve: int = 0, *, prefix_caching: bool = True) -> tuple[BlockBook, Ledger]:
    ledger = Ledger.create(bytearray(Ledger.bytes_for(blocks + 1)), blocks + 1)
    return BlockBook(ledger, decode_reserve_blocks=reserve, prefix_caching=prefix_caching), ledger


@dataclass
class Modelled:
    holder: int
    blocks: list[int] = field(default_factory=list)
    handed_over: bool = False


class BookAgainstModel(RuleBasedStateMachine):
    """Two connections, three names, seven blocks: everything that can be asked, by right or not."""

    @initialize(reserve=st.integers(0, 3))
    def begin(self, reserve: int) -> None:
        self.reserve = reserve
        self.book, self.ledger = make(reserve=reserve)
        self.requests: dict[str, Modelled] = {}
        self.writers: dict[int, str] = {}
        self.committed: set[int] = set()
        self.decodes: set[int] = set()

    def may_act(self, holder: int, name: str) -> bool:
        """Whether the model lets `holder` act for the request."""
        return name in self.requests and self.requests[name].holder == holder

    @rule(holder=holders, name=names, count=st.integers(0, BLOCKS + 1), role=st.sampled_from(InstanceRole))
    def allocate(self, holder: int, name: str, count: int, role: InstanceRole) -> None:
        known = self.requests.get(name)
        free = BLOCKS - len(self.writers) - (self.reserve if role is PREFILL else 0)
        try:
            blocks = self.book.allocate(holder, name, count, role)
        except HeldElsewhere:
            assert known is not None
            assert known.holder != holder
            return
        except NotEnoughBlocks:
            assert count > max(0, free)
            return
        assert known is None or known.holder == holder
        assert len(blocks) == count <= max(0, free)
        assert not set(blocks) & set(self.writers), "a block somebody holds was given away"
        if blocks:
            self.requests.setdefault(name, Modelled(holder)).blocks.extend(blocks)
            self.writers |= dict.fromkeys(blocks, name)
            self.decodes |= set(blocks) if role is DECODE else set()

    @rule(holder=holders, name=names, count=st.none() | st.integers(0, BLOCKS))
    def commit(self, holder: int, name: str, count: int | None) -> None:
        try:
            self.book.commit(holder, name, count)
        except (HeldElsewhere, UnknownRequest):
            assert not self.may_act(holder, name)
            return
        assert self.may_act(holder, name)
        self.committed |= {block for block in self.requests[name].blocks[:count] if self.writers[block] == name}

    @rule(holder=holders, name=names)
    def deallocate(self, holder: int, name: str) -> None:
        try:
            was_held = self.book.deallocate(holder, name)
        except HeldElsewhere:
            assert not self.may_act(holder, name)
            return
        assert was_held == (name in self.requests)
        if was_held:
            assert self.may_act(holder, name)
            self.forget(name)

    @rule(holder=holders)
    def end(self, holder: int) -> None:
        self.book.end(holder)
        for name in [name for name, request in self.requests.items() if request.holder == holder]:
            self.forget(name)

    def forget(self, name: str) -> None:
        """Requests are kept in the order in which they came, and so do the sharers inherit."""
        for block in self.requests.pop(name).blocks:
            heirs = [other for other, request in self.requests.items() if block in request.blocks]
            if heirs:
                self.writers[block] = heirs[0] if self.writers[block] == name else self.writers[block]
            else:
                del self.writers[block]
                self.committed.discard(block)
                self.decodes.discard(block)

    @rule(holder=holders, source=names, heir=names)
    def share(self, holder: int, source: str, heir: str) -> None:
        try:
            shared = self.book.share(holder, source, heir)
        except SharingRefused:
            assert source in self.requests
            assert heir in self.requests
            return
        assert shared == (source in self.requests)
        if shared:
            self.requests[heir] = Modelled(holder, list(self.requests[source].blocks))

    @rule(holder=holders, name=names)
    def hand_over(self, holder: int, name: str) -> None:
        try:
            self.book.hand_over(holder, name)
        except (HeldElsewhere, UnknownRequest):
            assert not self.may_act(holder, name)
            return
        request = self.requests[name]
        request.handed_over = True
        self.decodes |= {block for block in request.blocks if self.writers[block] == name}

    @rule(holder=holders, name=names)
    def take_over(self, holder: int, name: str) -> None:
        request = self.requests.get(name)
        try:
            blocks = self.book.take_over(holder, name)
        except (HeldElsewhere, UnknownRequest):
            assert request is None or not request.handed_over
            return
        assert request is not None
        assert request.handed_over
        assert blocks == request.blocks
        request.holder, request.handed_over = holder, False

    @rule(holder=holders, name=names)
    def map(self, holder: int, name: str) -> None:
        if name not in self.requests:
            return
        request = self.requests[name]
        found = self.book.locate(holder, name)
        assert found.block_ids == request.blocks
        assert (found.term is not None) == (request.holder == holder)
        for block in request.blocks:
            can_read = self.allows(found.lease, found.term, block, writing=False)
            can_write = self.allows(found.lease, found.term, block, writing=True)
            assert can_read == (block in self.committed)
            is_writer = request.holder == holder and self.writers[block] == name and not request.handed_over
            assert can_write == (is_writer and not can_read)

    def allows(self, lease: int, term: int | None, block: int, *, writing: bool) -> bool:
        try:
            self.book.check_mappable(lease, term, [block], writing)
        except (NotCommitted, NotWritable):
            return False
        return True

    @invariant()
    def everything_adds_up(self) -> None:
        seen = self.book.statistics(connections=2)
        holdings = Counter(itertools.chain(*(request.blocks for request in self.requests.values())))
        assert seen.used_blocks == len(holdings) == len(self.writers)
        assert seen.free_blocks == BLOCKS - len(holdings)
        assert seen.shared_blocks == sum(count > 1 for count in holdings.values())
        assert seen.committed_blocks == len(self.committed)
        assert (seen.prefill_blocks, seen.decode_blocks) == (len(holdings) - len(self.decodes), len(self.decodes))
        assert seen.requests == len(self.requests)
        assert {block: self.ledger.references(block + 1) for block in holdings} == dict(holdings)

    def teardown(self) -> None:
        if hasattr(self, "book"):
            for holder in (MINE, YOURS):
                self.book.end(holder)
            assert self.ledger.used_pages() == []
            assert not self.book._readers


TestBookAgainstModel = BookAgainstModel.TestCase


def test_a_shortage_says_how_many_were_asked_and_are_free() -> None:
    book, _ = make()
    book.allocate(MINE, "a", 5, PREFILL)
    with pytest.raises(NotEnoughBlocks, match=r"^Request 'b' asked for 3 blocks and 2 of 7 are free\.$"):
        book.allocate(MINE, "b", 3, DECODE)


def test_prefill_leaves_decode_its_reserve() -> None:
    book, _ = make(reserve=3)
    with pytest.raises(NotEnoughBlocks, match=r"asked for 5 blocks and 7 of 7 are free, 3 of them kept for decode\."):
        book.allocate(MINE, "a", 5, PREFILL)
    assert len(book.allocate(MINE, "a", 4, PREFILL)) == 4
    assert len(book.allocate(MINE, "a", 3, DECODE)) == 3


def test_sharing_can_be_switched_off() -> None:
    book, _ = make(prefix_caching=False)
    book.allocate(MINE, "a", 1, PREFILL)
    with pytest.raises(SharingRefused, match="enable_prefix_caching=False"):
        book.share(MINE, "a", "b")


def test_a_target_that_holds_blocks_is_refused() -> None:
    book, _ = make()
    book.allocate(MINE, "a", 1, PREFILL)
    with pytest.raises(SharingRefused, match="'a' holds blocks already"):
        book.share(MINE, "a", "a")


def test_more_sharers_than_the_ledger_counts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.storage.block_book.MAX_REFERENCES", 2)
    book, _ = make()
    book.allocate(MINE, "a", 1, PREFILL)
    assert book.share(MINE, "a", "b")
    with pytest.raises(SharingRefused, match="shared by 2 requests already"):
        book.share(MINE, "a", "c")


def test_a_half_written_block_passes_to_decode() -> None:
    book, _ = make()
    book.allocate(MINE, "a", 2, PREFILL)
    before = book.locate(MINE, "a")
    book.commit(MINE, "a", 1)
    with pytest.raises(HeldElsewhere, match="has not been handed over"):
        book.take_over(YOURS, "a")
    book.check_mappable(before.lease, before.term, [1], True)
    book.hand_over(MINE, "a")
    with pytest.raises(NotWritable, match="another's to write"):
        book.check_mappable(before.lease, before.term, [1], True)
    assert book.take_over(YOURS, "a") == [0, 1]
    with pytest.raises(NotWritable, match="another's to write"):
        book.check_mappable(before.lease, before.term, [1], True)
    after = book.locate(YOURS, "a")
    book.check_mappable(after.lease, after.term, [1], True)
    with pytest.raises(NotWritable, match="Block 0 of request 'a' is committed"):
        book.check_mappable(after.lease, after.term, [0], True)
    book.end(MINE)
    assert book.locate(YOURS, "a").block_ids == [0, 1]
    assert book.statistics(1).decode_blocks == 2


def test_a_handed_over_request_ends_with_its_holder_until_it_is_taken() -> None:
    book, _ = make()
    book.allocate(MINE, "a", 2, PREFILL)
    book.hand_over(MINE, "a")
    book.end(MINE)
    with pytest.raises(UnknownRequest, match="'a' holds no blocks"):
        book.take_over(YOURS, "a")
    assert book.statistics(1).free_blocks == BLOCKS


def test_a_name_that_is_used_again_is_another_request() -> None:
    book, _ = make()
    book.allocate(MINE, "a", 1, PREFILL)
    old = book.locate(MINE, "a")
    book.deallocate(MINE, "a")
    book.allocate(MINE, "a", 1, PREFILL)
    with pytest.raises(UnknownRequest, match="have been deallocated"):
        book.check_mappable(old.lease, old.term, old.block_ids, True)


def test_another_requests_block_is_not_mapped() -> None:
    book, _ = make()
    book.allocate(MINE, "a", 1, PREFILL)
    book.allocate(MINE, "b", 1, PREFILL)
    book.commit(MINE, "b", None)
    mine = book.locate(MINE, "a")
    with pytest.raises(UnknownRequest):
        book.check_mappable(mine.lease, mine.term, [1], False)


def test_what_is_shared_is_written_by_its_source_alone() -> None:
    book, _ = make()
    book.allocate(MINE, "a", 1, PREFILL)
    book.share(YOURS, "a", "b")
    sharer = book.locate(YOURS, "b")
    with pytest.raises(NotWritable, match="its source writes it"):
        book.check_mappable(sharer.lease, sharer.term, [0], True)
    with pytest.raises(NotCommitted, match="Block 0 of request 'b' cannot be read"):
        book.check_mappable(sharer.lease, sharer.term, [0], False)
    assert not book.commit(YOURS, "b", None)
    assert book.commit(MINE, "a", None)
    book.check_mappable(sharer.lease, sharer.term, [0], False)


def test_every_refusal_can_be_caught_as_ours() -> None:
    assert issubclass(NotEnoughBlocks, SemiPDError)
