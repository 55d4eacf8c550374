"""What holds after every event, whatever happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from engine.allocation import Phase
from engine.model.segment import Segment
from engine.storage.allocator import CACHE_OWNER, PageAllocator
from engine.storage.ledger import Ledger


class Violation(AssertionError):
    """Something happened that must never happen; the text says what."""


def demand(holds: bool, otherwise: str) -> None:
    """Raises `Violation`."""
    if not holds:
        raise Violation(otherwise)


class Writer(Protocol):
    """A worker."""

    name: str
    epoch: int
    phases: tuple[Phase, ...]
    is_poisoned: bool


Pieces = Sequence[tuple[int, Segment]]


class Invariants:
    """Asked by workers before they write, by leaders before they start one, by the scheduler after it decided."""

    def __init__(self, ledger: Ledger, page_size: int):
        self._ledger = ledger
        self._page_size = page_size
        self._latest_epochs: dict[str, int] = {}
        self._of_phase: dict[tuple[int, Phase], Writer] = {}
        self._touching: dict[int, Counter[str]] = {}

    def formed(self, slot: str, epoch: int) -> None:
        """Orders to one slot come in order; those to the other may be late, but no epoch is used twice."""
        latest = self._latest_epochs.get(slot, 0)
        demand(epoch > latest, f"epoch {epoch} was formed in slot {slot} after epoch {latest}")
        demand(epoch not in self._latest_epochs.values(), f"epoch {epoch} was formed in both slots")
        self._latest_epochs[slot] = epoch

    def began(self, writer: Writer) -> None:
        for phase in writer.phases:
            is_first = self._of_phase.setdefault((writer.epoch, phase), writer) is writer
            demand(is_first, f"two workers {phase} in epoch {writer.epoch}")

    def launched(self, writer: Writer, pieces: Pieces) -> None:
        """A request is in the hands of one worker."""
        for request_id in {request_id for request_id, _ in pieces}:
            touching = self._touching.setdefault(request_id, Counter())
            touching[writer.name] += 1
            demand(len(touching) == 1, f"request {request_id} is computed by {' and '.join(touching)}")

    def writes(self, writer: Writer, pieces: Pieces) -> None:
        """The step is done: what it wrote was its own to write."""
        demand(not writer.is_poisoned, f"{writer.name} computes although a fault has hit its slot")
        for request_id, segment in pieces:
            for page in self._written(segment):
                owner, epoch = self._ledger.owner(page), self._ledger.epoch(page)
                what = f"{writer.name} writes page {page} for request {request_id}"
                demand(owner == request_id, f"{what}, which belongs to {owner}")
                demand(epoch == writer.epoch, f"{what}, which epoch {epoch} may write")
                demand(not self._ledger.is_committed(page), f"{what}, which is committed")
        self.let_go(writer, pieces)

    def let_go(self, writer: Writer, pieces: Pieces) -> None:
        """The step touches nothing any more."""
        for request_id in {request_id for request_id, _ in pieces}:
            touching = self._touching[request_id]
            touching[writer.name] -= 1
            if not touching[writer.name]:
                del touching[writer.name]

    def pages(self, allocator: PageAllocator, live: Iterable[int]) -> None:
        """Every page is free, cached, or held by as many requests as its record says; one alone may write it."""
        tables = {request_id: allocator.table(request_id) for request_id in live}
        held = Counter(page for table in tables.values() for page in table)
        free = allocator.total_pages - len(held)
        demand(allocator.free_count == free, f"{allocator.free_count} pages count as free, {free} are")
        used = self._ledger.used_pages()
        demand(held.keys() <= set(used), f"of {sorted(held)} only {used} are held")
        for page in used:
            owner, references = self._ledger.owner(page), self._ledger.references(page)
            is_cached = owner == CACHE_OWNER
            is_own = is_cached or (held[page] == 1 and page in tables.get(owner, ()))
            if not is_own or references != held[page] + is_cached:
                raise Violation(f"page {page} is {owner}'s with {references} references, {held[page]} requests hold it")

    def _written(self, segment: Segment) -> Sequence[int]:
        first, last = segment.start, segment.start + len(segment.token_ids) - 1
        return segment.pages[first // self._page_size : last // self._page_size + 1]
