"""The scheduler imports the allocator: neither torch nor the manager may come with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import engine.storage

ALLOCATOR = "import engine.storage.allocator, engine.storage.ledger, engine.storage.prefix_tree"
MANAGER = "from engine.storage import UnifiedStorageManager"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [(ALLOCATOR, {"torch", "engine.storage.manager", "socket", "subprocess"}), (MANAGER, {"torch"})],
)
def test_what_is_not_needed_is_not_loaded(statement: str, absent: set[str]) -> None:
    program = f"import sys; {statement}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, text=True).stdout
    assert "engine.storage" in loaded.split()
    assert absent.isdisjoint(loaded.split())


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Manager'"):
        _ = engine.storage.Manager  # pyright: ignore[reportAttributeAccessIssue]
