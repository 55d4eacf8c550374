"""The page ledger against a plain model of it, across two mappings, and interrupted between any two stores."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from engine.errors import SemiPDError
from engine.storage.ledger import MAX_REFERENCES, Ledger

NUM_PAGES = 12

page_sets = st.sets(st.integers(1, NUM_PAGES - 1), max_size=NUM_PAGES - 1)
owners = st.integers(1, 2**64 - 1)
epochs = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Record:
    owner: int
    epoch: int
    references: int = 1
    committed: bool = False


class LedgerAgainstModel(RuleBasedStateMachine):
    """Every verb, on any of the pages for which it is allowed; a second reader of the same memory sees the same."""

    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        memory = mmap.mmap(-1, Ledger.bytes_for(NUM_PAGES))
        self.ledger = Ledger.create(memory, NUM_PAGES)
        self.reader = Ledger.open(memory)
        self.model: dict[int, Record] = {}

    @rule(pages=page_sets, owner=owners, epoch=epochs)
    def take(self, pages: set[int], owner: int, epoch: int) -> None:
        free = sorted(pages - self.model.keys())
        self.ledger.take(free, owner, epoch)
        self.model |= dict.fromkeys(free, Record(owner, epoch))

    @rule(pages=page_sets)
    def share(self, pages: set[int]) -> None:
        used = sorted(pages & self.model.keys())
        self.ledger.share(used)
        for page in used:
            self.model[page] = replace(self.model[page], references=self.model[page].references + 1)

    @rule(pages=page_sets)
    def drop(self, pages: set[int]) -> None:
        used = sorted(pages & self.model.keys(), reverse=True)
        expected = [page for page in used if self.model[page].references == 1]
        assert self.ledger.drop(used) == expected
        for page in used:
            self.model[page] = replace(self.model[page], references=self.model[page].references - 1)
        for page in expected:
            del self.model[page]

    @rule(pages=page_sets)
    def commit(self, pages: set[int]) -> None:
        used = sorted(pages & self.model.keys())
        self.ledger.commit(used)
        for page in used:
            self.model[page] = replace(self.model[page], committed=True)

    @rule(pages=page_sets, owner=owners, epoch=epochs)
    def hand_over(self, pages: set[int], owner: int, epoch: int) -> None:
        used = sorted(pages & self.model.keys())
        self.ledger.hand_over(used, owner, epoch)
        for page in used:
            self.model[page] = replace(self.model[page], owner=owner, epoch=epoch)

    @invariant()
    def both_mappings_agree_with_the_model(self) -> None:
        assert self.reader.used_pages() == sorted(self.model)
        assert self.reader.free_pages() == sorted(set(range(1, NUM_PAGES)) - self.model.keys())
        for page in range(NUM_PAGES):
            assert record_of(self.reader, page) == self.model.get(page)
            assert self.ledger.references(page) == self.reader.references(page)


def record_of(ledger: Ledger, page: int) -> Record | None:
    """What a reader makes of a page; None where nobody holds it."""
    if not ledger.references(page):
        assert ledger.owner(page) == 0
        assert not ledger.is_committed(page)
        return None
    return Record(ledger.owner(page), ledger.epoch(page), ledger.references(page), ledger.is_committed(page))


TestLedgerAgainstModel = LedgerAgainstModel.TestCase


class Killed(Exception):
    """The writer ends here."""


class Dying:
    """A field of all records that lets a given number of stores through, counted over all fields, and dies then."""

    def __init__(self, array: Any, stores_left: Iterator[None]):
        self._array = array
        self._stores_left = stores_left

    def __getitem__(self, at: Any) -> Any:
        return self._array[at]

    def __setitem__(self, at: Any, value: Any) -> None:
        if next(self._stores_left, Killed) is Killed:
            raise Killed
        self._array[at] = value


def killed_after(ledger: Ledger, stores: int, verb: str, *arguments: Any) -> bool:
    """Run a verb on `ledger` and kill the writer before store number `stores`; False if the verb had no so many."""
    stores_left = iter([None] * stores)
    for field in ("_owner", "_epoch", "_references", "_committed"):
        setattr(ledger, field, Dying(getattr(ledger, field), stores_left))
    try:
        getattr(ledger, verb)(*arguments)
    except Killed:
        return True
    return False


BEFORE = Record(owner=5, epoch=1)
PAGE = 3


def interrupted(verb: str, *arguments: Any, references: int = 1, taken: bool = True) -> list[Record | None]:
    """What a reader finds in PAGE after each possible death of the writer in `verb`, and after its end."""
    found = []
    for stores in range(10):
        memory = mmap.mmap(-1, Ledger.bytes_for(NUM_PAGES))
        ledger = Ledger.create(memory, NUM_PAGES)
        if taken:
            ledger.take([PAGE], BEFORE.owner, BEFORE.epoch)
            for _ in range(references - 1):
                ledger.share([PAGE])
        was_killed = killed_after(ledger, stores, verb, [PAGE], *arguments)
        found.append(record_of(Ledger.open(memory), PAGE))
        if not was_killed:
            assert stores > 0, "the verb stored nothing"
            return found
    raise AssertionError("the verb never came to its end")


def test_take_interrupted_leaves_the_page_free_or_wholly_taken() -> None:
    *deaths, end = interrupted("take", 9, 2, taken=False)
    assert deaths == [None] * len(deaths)
    assert end == Record(owner=9, epoch=2)


def test_taking_a_page_again_never_shows_what_it_was_before() -> None:
    for stores in range(4):
        memory = mmap.mmap(-1, Ledger.bytes_for(NUM_PAGES))
        ledger = Ledger.create(memory, NUM_PAGES)
        ledger.take([PAGE], 5, 1)
        ledger.commit([PAGE])
        killed_after(ledger, stores, "drop", [PAGE])
        after_death = Ledger.open(memory)
        if after_death.is_free(PAGE):
            after_death.take([PAGE], 9, 2)
            assert record_of(after_death, PAGE) == Record(owner=9, epoch=2)
        else:
            assert stores == 0


def test_drop_interrupted_leaves_the_page_held_or_free() -> None:
    before, *rest = interrupted("drop")
    assert before == BEFORE
    assert rest == [None] * len(rest)


def test_drop_of_a_shared_page_interrupted_keeps_it_with_the_others() -> None:
    before, *rest = interrupted("drop", references=2)
    assert before == replace(BEFORE, references=2)
    assert rest == [BEFORE] * len(rest)


def test_hand_over_interrupted_leaves_the_page_to_the_old_owner_until_it_is_the_new_ones() -> None:
    *deaths, end = interrupted("hand_over", 9, 2)
    assert all(found is not None and found.owner == BEFORE.owner for found in deaths)
    assert end == Record(owner=9, epoch=2)


def test_two_mappings_of_one_file_are_one_ledger() -> None:
    fd = os.memfd_create("ledger")
    os.ftruncate(fd, Ledger.bytes_for(NUM_PAGES))
    writer = Ledger.create(mmap.mmap(fd, Ledger.bytes_for(NUM_PAGES)), NUM_PAGES)
    reader = Ledger.open(mmap.mmap(fd, Ledger.bytes_for(NUM_PAGES)))
    os.close(fd)
    writer.take([1, 4], 7, 3)
    assert reader.used_pages() == [1, 4]
    reader.take([2], 8, 3)
    assert writer.owner(2) == 8


def a_ledger() -> Ledger:
    return Ledger.create(bytearray(Ledger.bytes_for(NUM_PAGES)), NUM_PAGES)


def test_page_0_is_neither_free_nor_used() -> None:
    ledger = a_ledger()
    assert not ledger.is_free(0)
    assert 0 not in ledger.free_pages()
    with pytest.raises(AssertionError, match="page 0"):
        ledger.take([0], 1, 1)


@pytest.mark.parametrize("verb", ["share", "drop", "commit"])
def test_a_free_page_has_no_state_to_change(verb: str) -> None:
    with pytest.raises(AssertionError, match="free page"):
        getattr(a_ledger(), verb)([1])


def test_our_own_mistakes_are_caught_before_anything_is_written() -> None:
    ledger = a_ledger()
    ledger.take([1], 7, 1)
    with pytest.raises(AssertionError, match="only a free page"):
        ledger.take([2, 1], 8, 1)
    with pytest.raises(AssertionError, match="distinct"):
        ledger.share([1, 1])
    with pytest.raises(AssertionError, match="does not exist"):
        ledger.take([NUM_PAGES], 7, 1)
    with pytest.raises(AssertionError, match="nobody"):
        ledger.take([3], 0, 1)
    assert ledger.used_pages() == [1]
    assert ledger.references(1) == 1


def test_references_do_not_run_over() -> None:
    ledger = a_ledger()
    ledger.take([1], 7, 1)
    for _ in range(MAX_REFERENCES - 1):
        ledger.share([1])
    with pytest.raises(AssertionError, match="too many"):
        ledger.share([1])
    assert ledger.references(1) == MAX_REFERENCES


def test_create_forgets_what_the_memory_held() -> None:
    buffer = bytearray(b"\xff" * Ledger.bytes_for(NUM_PAGES))
    assert Ledger.create(buffer, NUM_PAGES).used_pages() == []


def header_changed(offset: int, value: bytes) -> bytearray:
    buffer = bytearray(Ledger.bytes_for(NUM_PAGES))
    Ledger.create(buffer, NUM_PAGES)
    buffer[offset : offset + len(value)] = value
    return buffer


@pytest.mark.parametrize(
    ("buffer", "sentence"),
    [
        (bytearray(10), "too few"),
        (bytearray(1000), "no page ledger"),
        (header_changed(8, b"\x63"), "layout 99"),
        (header_changed(12, b"\xff\xff"), "cut off: 65535 pages"),
    ],
)
def test_what_is_no_ledger_of_this_layout_is_refused(buffer: bytearray, sentence: str) -> None:
    with pytest.raises(SemiPDError, match=sentence):
        Ledger.open(buffer)


def test_a_buffer_too_small_is_refused() -> None:
    with pytest.raises(SemiPDError, match="needs"):
        Ledger.create(bytearray(Ledger.bytes_for(NUM_PAGES) - 1), NUM_PAGES)
