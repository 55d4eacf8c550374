"""One block store for the tests that can share it; each test finds it empty and leaves it so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.storage import UnifiedStorageManager

BLOCKS = 40
BLOCK_SIZE = 256


@pytest.fixture(scope="module")
def store() -> Iterator[UnifiedStorageManager]:
    """The manager that made it, which holds nothing."""
    with UnifiedStorageManager(BLOCKS, BLOCK_SIZE, "cpu", decode_reserve_blocks=4) as manager:
        yield manager


@pytest.fixture
def manager(store: UnifiedStorageManager) -> Iterator[UnifiedStorageManager]:
    """Another connection to it. When it is closed everything has come back."""
    with UnifiedStorageManager.attach(store.address) as manager:
        yield manager
    assert store.get_statistics().free_blocks == BLOCKS
    assert store.get_statistics().connections == 1
