"""The page allocator against a model that knows what was written where and who holds it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from engine.storage.allocator import CACHE_OWNER, PageAllocator
from engine.storage.ledger import Ledger

SIZE = 2
PAGES = 8
EPOCHS = st.integers(1, 3)

salts = st.sampled_from(["", "key"])
texts = st.lists(st.integers(0, 1), max_size=2 * PAGES)


def make(pages: int = PAGES, *, prefix_caching: bool = False) -> tuple[PageAllocator, Ledger]:
    ledger = Ledger.create(bytearray(Ledger.bytes_for(pages + 1)), pages + 1)
    return PageAllocator(ledger, SIZE, prefix_caching=prefix_caching), ledger


class AllocatorAgainstModel(RuleBasedStateMachine):
    """Requests that begin with what is known, grow, are committed, pass to another group and leave."""

    owners = Bundle("owners")

    @initialize(prefix_caching=st.booleans())
    def begin(self, prefix_caching: bool) -> None:
        self.allocator, self.ledger = make(prefix_caching=prefix_caching)
        self.numbers = itertools.count(1)
        self.texts: dict[int, tuple[str, list[int]]] = {}
        self.held: dict[int, list[int]] = {}
        self.written: dict[int, tuple[str, tuple[int, ...]]] = {}

    def beginning(self, salt: str, tokens: Sequence[int], index: int) -> tuple[str, tuple[int, ...]]:
        """What page number `index` of a text holds, with all that comes before it."""
        return salt, tuple(tokens[: (index + 1) * SIZE])

    def take(self, owner: int, count: int, epoch: int) -> bool:
        could = count <= self.allocator.free_count
        pages = self.allocator.allocate(owner, count, epoch)
        assert (pages is not None) == could, "all or nothing, and never nothing while there is room"
        if pages is None:
            return False
        assert len(pages) == count
        assert not set(pages) & set(itertools.chain(*self.held.values())), "a page somebody holds was given away"
        for page in pages:
            assert (self.ledger.owner(page), self.ledger.epoch(page)) == (owner, epoch)
            assert not self.ledger.is_committed(page)
            self.written.pop(page, None)
        self.held.setdefault(owner, []).extend(pages)
        return True

    @rule(target=owners, salt=salts, tokens=texts, epoch=EPOCHS)
    def comes(self, salt: str, tokens: list[int], epoch: int) -> int:
        owner = next(self.numbers)
        known = self.allocator.known_pages(salt, tokens)
        for index, page in enumerate(known):
            assert self.written[page] == self.beginning(salt, tokens, index), "another text's page"
            assert self.ledger.is_committed(page)
        self.allocator.begin_with(owner, known)
        self.texts[owner], self.held[owner] = (salt, tokens), list(known)
        if not self.take(owner, self.allocator.pages_for(len(tokens)) - len(known), epoch):
            self.leaves(owner)
        return owner

    @rule(owner=owners, tokens=texts, epoch=EPOCHS)
    def grows(self, owner: int, tokens: list[int], epoch: int) -> None:
        if owner not in self.texts:
            return
        text = self.texts[owner][1]
        missing = self.allocator.pages_for(len(text) + len(tokens)) - len(self.held[owner])
        if self.take(owner, missing, epoch):
            text.extend(tokens)

    @rule(owner=owners, part=st.floats(0, 1))
    def commits(self, owner: int, part: float) -> None:
        if not self.held.get(owner):
            return
        salt, text = self.texts[owner]
        tokens = text[: round(len(text) * part)]
        for index in range(len(tokens) // SIZE):
            self.written[self.held[owner][index]] = self.beginning(salt, tokens, index)
        self.allocator.commit(owner, salt, tokens)
        assert all(self.ledger.is_committed(page) for page in self.held[owner][: len(tokens) // SIZE])

    @rule(owner=owners, epoch=EPOCHS)
    def changes_hands(self, owner: int, epoch: int) -> None:
        if not self.held.get(owner):
            return
        self.allocator.hand_over(owner, epoch)
        for page in self.held[owner]:
            assert self.ledger.owner(page) == CACHE_OWNER or self.ledger.epoch(page) == epoch

    @rule(owner=consumes(owners))
    def leaves(self, owner: int) -> None:
        self.allocator.release(owner)
        self.texts.pop(owner, None)
        self.held.pop(owner, None)

    @rule()
    def forgets(self) -> None:
        cached = self.allocator.cached_count
        assert self.allocator.forget_cached() == cached
        assert self.allocator.cached_count == 0

    @invariant()
    def every_page_is_accounted_for(self) -> None:
        holders = Counter(itertools.chain(*self.held.values()))
        known = {page: self.ledger.references(page) - holders[page] for page in self.ledger.used_pages()}
        assert set(known.values()) <= {0, 1}, "beside its holders only the tree refers to a page"
        assert set(holders) <= set(known)
        assert 0 not in known
        cached = [page for page in known if not holders[page]]
        assert len(cached) == self.allocator.cached_count
        assert self.allocator.free_count == PAGES - len(holders)
        assert self.allocator.total_pages == PAGES

    @invariant()
    def tables_are_the_models(self) -> None:
        for owner, pages in self.held.items():
            assert self.allocator.table(owner) == pages
            assert len(set(pages)) == len(pages)
            for page in pages:
                assert self.ledger.owner(page) in (owner, CACHE_OWNER)

    def teardown(self) -> None:
        if not hasattr(self, "allocator"):
            return
        for owner in list(self.held):
            self.leaves(owner)
        self.allocator.forget_cached()
        assert self.ledger.used_pages() == []


TestAllocatorAgainstModel = AllocatorAgainstModel.TestCase


def test_the_lowest_pages_are_given_first_and_never_page_0() -> None:
    allocator, _ = make(4)
    assert allocator.allocate(7, 3, 1) == [1, 2, 3]
    assert allocator.allocate(7, 1, 1) == [4]
    assert allocator.table(7) == [1, 2, 3, 4]


def test_too_many_change_nothing() -> None:
    allocator, ledger = make(4)
    allocator.allocate(7, 2, 1)
    assert allocator.allocate(8, 3, 1) is None
    assert allocator.table(8) == []
    assert ledger.used_pages() == [1, 2]
    assert allocator.free_count == 2


def test_any_free_pages_serve_any_request() -> None:
    allocator, _ = make(6)
    for owner in range(1, 7):
        allocator.allocate(owner, 1, 1)
    for owner in (1, 3, 5):
        allocator.release(owner)
    pages = allocator.allocate(9, 3, 1)
    assert pages is not None
    assert sorted(pages) == [1, 3, 5]


def test_releasing_one_who_holds_nothing_changes_nothing() -> None:
    allocator, _ = make(4)
    allocator.release(5)
    assert allocator.free_count == 4


@pytest.mark.parametrize(("tokens", "pages"), [(0, 0), (1, 1), (2, 1), (3, 2)])
def test_pages_for_tokens(tokens: int, pages: int) -> None:
    assert make()[0].pages_for(tokens) == pages


def test_a_committed_beginning_outlives_its_writer_until_the_room_is_needed() -> None:
    allocator, ledger = make(4, prefix_caching=True)
    allocator.allocate(1, 2, 1)
    allocator.commit(1, "", [5, 6, 7])
    allocator.release(1)
    assert allocator.free_count == 4
    assert allocator.known_pages("", [5, 6, 7]) == [1]
    assert ledger.owner(1) == CACHE_OWNER
    assert allocator.allocate(2, 4, 1) is not None
    assert allocator.known_pages("", [5, 6, 7]) == []


def test_what_is_read_is_not_evicted() -> None:
    allocator, _ = make(4, prefix_caching=True)
    allocator.allocate(1, 1, 1)
    allocator.commit(1, "", [5, 6])
    allocator.release(1)
    allocator.begin_with(2, allocator.known_pages("", [5, 6, 7]))
    assert allocator.allocate(3, 4, 1) is None
    assert allocator.allocate(3, 3, 1) == [2, 3, 4]
    assert allocator.table(2) == [1]


def test_nothing_is_known_without_prefix_caching() -> None:
    allocator, ledger = make(4)
    allocator.allocate(1, 1, 1)
    allocator.commit(1, "", [5, 6])
    assert ledger.is_committed(1)
    assert allocator.known_pages("", [5, 6, 7]) == []
    allocator.release(1)
    assert ledger.used_pages() == []
