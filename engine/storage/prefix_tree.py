"""Which committed pages hold the beginning of which token sequences. Pure: it counts no references and frees nothing.

A node is one full page: its tokens, in the context of all pages above it. Trees of different salts never meet, so that
one API key cannot learn from timing what another has asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Node:
    """`page` holds the K and V of the tokens `key`. A first page knows the `salt` of its tree; a root has no page."""

    page: int
    parent: Node | None
    key: tuple[int, ...]
    salt: str | None = None
    children: dict[tuple[int, ...], Node] = field(default_factory=dict)


class PrefixTree:
    """A tree of pages for each salt, and the pages no request reads, the longest unread first.

    Whoever reads a page reads all pages above it, so a page becomes unread no later than those above it: the first
    unread page is always a leaf.
    """

    def __init__(self, page_size: int):
        self._page_size = page_size
        self._roots: dict[str, Node] = {}
        self._nodes: dict[int, Node] = {}
        self._unread: dict[int, None] = {}

    def __contains__(self, page: int) -> bool:
        return page in self._nodes

    @property
    def unread_count(self) -> int:
        """Pages that could be evicted."""
        return len(self._unread)

    def match(self, salt: str, token_ids: Sequence[int]) -> list[int]:
        """Pages of the longest known beginning of `token_ids` that leaves at least one token to compute."""
        node = self._roots.get(salt)
        pages: list[int] = []
        for key in self._keys(token_ids, len(token_ids) - 1):
            node = node.children.get(key) if node else None
            if node is None:
                break
            pages.append(node.page)
        return pages

    def insert(self, salt: str, token_ids: Sequence[int], pages: Sequence[int]) -> list[int]:
        """Learn that `pages` hold the full pages of `token_ids`; returns those that are new here.

        Where another page holds the same content already, that one is kept and what lies below is not learnt: it is
        read by somebody who does not read the page above it.
        """
        if len(token_ids) < self._page_size:
            return []
        node = self._roots.setdefault(salt, Node(page=0, parent=None, key=()))
        new: list[int] = []
        for key, page in zip(self._keys(token_ids, len(token_ids)), pages, strict=False):
            child = node.children.get(key)
            if child is None:
                is_first = node.parent is None
                child = node.children[key] = self._nodes[page] = Node(page, node, key, salt if is_first else None)
                new.append(page)
            elif child.page != page:
                break
            node = child
        return new

    def read(self, pages: Iterable[int]) -> None:
        """A request reads these pages: they cannot be evicted."""
        for page in pages:
            self._unread.pop(page, None)

    def unread(self, pages: Iterable[int]) -> None:
        """No request reads these pages any more; the deepest come first."""
        self._unread.update(dict.fromkeys(pages))

    def evict(self, count: int) -> list[int]:
        """Forget up to `count` unread pages, the longest unread first, and return them."""
        evicted = [page for page, _ in zip(self._unread, range(count), strict=False)]
        for page in evicted:
            del self._unread[page]
            node = self._nodes.pop(page)
            assert node.parent is not None
            assert not node.children, "a page below an unread one is still there"
            del node.parent.children[node.key]
            if node.salt is not None and not node.parent.children:
                del self._roots[node.salt]
        return evicted

    def _keys(self, token_ids: Sequence[int], end: int) -> Iterable[tuple[int, ...]]:
        size = self._page_size
        return (tuple(token_ids[at : at + size]) for at in range(0, end - size + 1, size))
