"""The prefix tree against a plain model of it: a dictionary of beginnings."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import hypothesis.strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from engine.storage.prefix_tree import PrefixTree

SIZE = 2

salts = st.sampled_from(["", "key"])
texts = st.lists(st.integers(0, 1), max_size=9)
Beginning = tuple[str, tuple[int, ...]]


def beginnings(salt: str, tokens: Sequence[int], end: int) -> list[Beginning]:
    """What the full pages of `tokens` before `end` hold, each with all that comes before it."""
    return [(salt, tuple(tokens[: at + SIZE])) for at in range(0, end - SIZE + 1, SIZE)]


class TreeAgainstModel(RuleBasedStateMachine):
    """Readers come and go as the allocator lets them: each reads a page and all pages above it."""

    readers = Bundle("readers")

    def __init__(self) -> None:
        super().__init__()
        self.tree = PrefixTree(SIZE)
        self.fresh = itertools.count(1)
        self.known: dict[Beginning, int] = {}
        self.reading: list[list[int]] = []
        self.unread: list[int] = []

    def longest(self, salt: str, tokens: Sequence[int], end: int) -> list[int]:
        pages = [self.known.get(beginning) for beginning in beginnings(salt, tokens, end)]
        return [page for page in itertools.takewhile(lambda page: page is not None, pages) if page is not None]

    def read(self, pages: list[int]) -> list[int]:
        self.tree.read(pages)
        self.reading.append(pages)
        self.unread = [page for page in self.unread if page not in pages]
        return pages

    @rule(target=readers, salt=salts, tokens=texts)
    def goes_on_after_what_is_known(self, salt: str, tokens: list[int]) -> list[int]:
        shared = self.read(self.longest(salt, tokens, len(tokens)))
        wanted = beginnings(salt, tokens, len(tokens))
        pages = shared + [next(self.fresh) for _ in wanted[len(shared) :]]
        assert self.tree.insert(salt, tokens, pages) == pages[len(shared) :]
        self.known |= dict(zip(wanted, pages, strict=True))
        self.reading.remove(shared)
        return self.read(pages)

    @rule(salt=salts, tokens=texts)
    def computes_what_is_known_again(self, salt: str, tokens: list[int]) -> None:
        if self.longest(salt, tokens, len(tokens)):
            copies = [next(self.fresh) for _ in beginnings(salt, tokens, len(tokens))]
            assert self.tree.insert(salt, tokens, copies) == []
            assert not any(page in self.tree for page in copies)

    @rule(pages=consumes(readers))
    def leaves(self, pages: list[int]) -> None:
        self.reading.remove(pages)
        still_read = set(itertools.chain(*self.reading))
        gone = [page for page in reversed(pages) if page not in still_read]
        self.tree.unread(gone)
        self.unread += gone

    @rule(count=st.integers(0, 6))
    def evicts(self, count: int) -> None:
        evicted = self.tree.evict(count)
        assert evicted == self.unread[:count]
        self.unread = self.unread[count:]
        self.known = {beginning: page for beginning, page in self.known.items() if page not in evicted}

    @rule(salt=salts, tokens=texts)
    def is_asked(self, salt: str, tokens: list[int]) -> None:
        assert self.tree.match(salt, tokens) == self.longest(salt, tokens, len(tokens) - 1)

    @invariant()
    def knows_what_the_model_knows(self) -> None:
        assert self.tree.unread_count == len(self.unread)
        assert all(page in self.tree for page in self.known.values())


TestTreeAgainstModel = TreeAgainstModel.TestCase


def test_one_token_is_always_left_to_compute() -> None:
    tree = PrefixTree(SIZE)
    tree.insert("", [1, 2, 3, 4], [5, 6])
    assert tree.match("", [1, 2, 3, 4]) == [5]
    assert tree.match("", [1, 2, 3, 4, 9]) == [5, 6]
    assert tree.match("", [1, 2, 9, 4, 9]) == [5]
    assert tree.match("", [1, 2]) == []


def test_salts_never_meet() -> None:
    tree = PrefixTree(SIZE)
    tree.insert("mine", [1, 2], [5])
    assert tree.match("mine", [1, 2, 3]) == [5]
    assert tree.match("yours", [1, 2, 3]) == []


def test_below_a_twins_page_nothing_is_learnt() -> None:
    tree = PrefixTree(SIZE)
    tree.insert("", [1, 2], [5])
    assert tree.insert("", [1, 2, 3, 4], [7, 8]) == []
    assert tree.match("", [1, 2, 3, 4, 9]) == [5]


def test_what_is_half_full_is_not_learnt() -> None:
    tree = PrefixTree(SIZE)
    assert tree.insert("", [1, 2, 3], [5, 6]) == [5]
    assert 6 not in tree


def test_the_longest_unread_go_first_and_children_before_parents() -> None:
    tree = PrefixTree(SIZE)
    tree.insert("", [1, 2, 3, 4], [5, 6])
    tree.insert("", [9, 9], [7])
    tree.unread([7])
    tree.unread([6, 5])
    assert tree.evict(2) == [7, 6]
    assert tree.match("", [1, 2, 3, 4, 0]) == [5]
    assert tree.evict(9) == [5]
    assert tree.evict(1) == []
