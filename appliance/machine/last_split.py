"""The split that was last in force, for when no group is left that could be asked: kept as long as this start lasts."""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.allocation import SMAllocation


class LastSplit:
    """A file in the runtime directory."""

    def __init__(self, runtime_dir: Path):
        self._path = runtime_dir / "last-split.json"
        self._kept: SMAllocation | None = None

    def read(self) -> SMAllocation | None:
        """None where this start has had none."""
        return msgspec.json.decode(self._path.read_bytes(), type=SMAllocation) if self._path.exists() else None

    def keep(self, in_force: SMAllocation | None) -> None:
        """Remember a split; None, that nobody serves for a moment, is no reason to forget."""
        if in_force is None or in_force == self._kept:
            return
        draft = self._path.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(in_force))
        draft.rename(self._path)
        self._kept = in_force

    def forget(self) -> None:
        """A new start takes the split of its settings."""
        self._path.unlink(missing_ok=True)
