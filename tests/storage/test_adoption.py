"""Which pages another writer of the ledger keeps: committed ones, each for one content; all others are free."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.storage.adoption import PageRecord, adoptable
from engine.storage.allocator import CACHE_OWNER, PageAllocator
from engine.storage.content import contents
from engine.storage.ledger import Ledger

SIZE, PAGES = 2, 12
RECORDS = st.lists(
    st.builds(PageRecord, st.integers(1, 99), st.booleans(), st.sampled_from([bytes(16), b"a" * 16, b"b" * 16])),
    unique_by=lambda record: record.page,
)


@given(RECORDS)
def test_no_page_twice_and_none_that_is_not_committed_or_does_not_say_what_it_holds(records: list[PageRecord]) -> None:
    adopted = adoptable(records)
    assert len(set(adopted.values())) == len(adopted)
    by_page = {record.page: record for record in records}
    for content, page in adopted.items():
        assert by_page[page] == PageRecord(page, True, content)
        assert any(content)
    assert set(adopted) == {record.content for record in records if record.is_committed} - {bytes(16)}


@given(
    st.lists(
        st.tuples(st.text("xy", max_size=1), st.lists(st.integers(0, 1), min_size=1, max_size=8), st.integers(0, 8)),
        max_size=3,
    )
)
def test_after_another_writer_began_every_page_is_free_or_found_by_what_was_committed(requests: list) -> None:
    ledger = Ledger.create(bytearray(Ledger.bytes_for(PAGES + 1)), PAGES + 1)
    before = PageAllocator(ledger, SIZE, prefix_caching=True)
    committed: dict[bytes, tuple[str, list[int]]] = {}
    for owner, (salt, tokens, written) in enumerate(requests, start=1):
        if before.allocate(owner, before.pages_for(len(tokens)), epoch=1) is None:
            continue
        before.note_written(owner, salt, tokens, min(written, len(tokens)))
        for index, content in enumerate(contents(salt, tokens, SIZE, end=min(written, len(tokens)))):
            committed[content] = (salt, tokens[: (index + 1) * SIZE])
    after = PageAllocator.adopting(ledger, SIZE, prefix_caching=True)
    assert after.cached_count == len(committed)
    assert after.free_count == after.total_pages == PAGES
    assert all(ledger.owner(page) == CACHE_OWNER and ledger.references(page) == 1 for page in ledger.used_pages())
    for salt, tokens in committed.values():
        assert len(after.known_pages(salt, [*tokens, 0])) == len(tokens) // SIZE
    assert after.forget_cached() == len(committed)
    assert ledger.used_pages() == []


def test_what_is_adopted_goes_first_when_the_pool_is_short() -> None:
    ledger = Ledger.create(bytearray(Ledger.bytes_for(PAGES + 1)), PAGES + 1)
    before = PageAllocator(ledger, SIZE, prefix_caching=True)
    before.allocate(1, 4, epoch=1)
    before.commit(1, "", list(range(8)))
    after = PageAllocator.adopting(ledger, SIZE, prefix_caching=True)
    assert len(after.allocate(2, PAGES, epoch=2) or []) == PAGES
    assert after.known_pages("", list(range(9))) == []


def test_without_prefix_caching_nothing_is_kept() -> None:
    ledger = Ledger.create(bytearray(Ledger.bytes_for(PAGES + 1)), PAGES + 1)
    before = PageAllocator(ledger, SIZE, prefix_caching=True)
    before.allocate(1, 4, epoch=1)
    before.commit(1, "", list(range(8)))
    assert PageAllocator.adopting(ledger, SIZE).free_count == PAGES
    assert ledger.used_pages() == []
