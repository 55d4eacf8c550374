"""Pages and blocks: who holds them. The manager is loaded only when asked for; the scheduler needs the allocator."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.storage.manager import UnifiedStorageManager

__all__ = ["UnifiedStorageManager"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("engine.storage.manager"), name)
