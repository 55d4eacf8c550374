"""`python -m engine.compatibility RUNTIME_DIR`: what processes of two releases must share to serve side by side.

A line a format: its name and its digest. An installation compares two releases' lines; where they differ, one cannot
take over from the other while requests are served. Ends as one that cannot start where this release cannot read the
settings that the running processes go by.
"""

from __future__ import annotations

import hashlib
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from engine.config import PortArgs
from engine.errors import CannotStart
from engine.process import run
from engine.resident import manifest
from engine.scheduler import load_table
from engine.storage import ledger
from engine.wire.codec import PROTOCOL_VERSION, Message

MEANING = 1
"""To be raised by a change that no format shows, for instance of the order in which K and V lie within a page."""

RECEIVERS = ("controller", "gateway", "leader", "scheduler", "worker")


def formats() -> dict[str, str]:
    """Name to digest. What a release adds at a message's end, with a default, changes none."""
    for receiver in RECEIVERS:
        import_module(f"engine.wire.to_{receiver}")
    of_wire = [kind for kind in Message.__subclasses__() if kind.__module__.startswith("engine.wire.")]
    of_resident = [manifest.Manifest, manifest.KVSpec, manifest.MemorySpec, manifest.TensorSpec]
    return {
        "messages": _digest(PROTOCOL_VERSION, sorted(map(needed, of_wire))),
        "resident": _digest(MEANING, list(map(needed, of_resident))),
        "page-ledger": _digest(ledger.LAYOUT_VERSION, ledger.RECORD.descr),
        "load-table": _digest(load_table.MAGIC, load_table.SIZE),
    }


def needed(kind: type[msgspec.Struct]) -> str:
    """A struct's name and its fields without a default: what whoever speaks of it must know."""
    required = [field for field in msgspec.structs.fields(kind) if field.required]
    return f"{kind.__name__}({', '.join(f'{field.name}: {field.type}' for field in required)})"


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def main() -> None:
    ports = PortArgs(Path(sys.argv[1]))
    try:
        ports.read_settings()
    except ValueError as error:
        raise CannotStart(f"This release cannot read the settings in force: {error}") from error
    for name, digest in formats().items():
        print(name, digest)


if __name__ == "__main__":
    run(main)
