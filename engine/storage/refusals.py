"""Why the block store says no. Each message is one sentence; the store sends it, the manager raises it again."""

from __future__ import annotations

from engine.errors import CannotStart, ProtocolMismatch, SemiPDError


class StorageRefusal(SemiPDError):
    """The block store did not do what it was asked, and has changed nothing."""


class NotEnoughBlocks(StorageRefusal):
    """Fewer blocks are free, for this role, than were asked for."""


class UnknownRequest(StorageRefusal):
    """The request holds no blocks, or holds them no more."""


class HeldElsewhere(StorageRefusal):
    """The request's blocks are held through another connection, which has not handed them over."""


class NotCommitted(StorageRefusal):
    """A block that somebody wants to read is still being written."""


class NotWritable(StorageRefusal):
    """A block that somebody wants to write is readable by others, or is no more, or never was, his to write."""


class SharingRefused(StorageRefusal):
    """Blocks cannot be shared with this request."""


class StoreGone(SemiPDError):
    """No block store answers, or it ended while it did."""


_KINDS: dict[str, type[SemiPDError]] = {
    kind.__name__: kind
    for kind in (
        NotEnoughBlocks,
        UnknownRequest,
        HeldElsewhere,
        NotCommitted,
        NotWritable,
        SharingRefused,
        CannotStart,
        ProtocolMismatch,
    )
}


def refusal(kind: str, sentence: str) -> SemiPDError:
    """The exception of a name that has come over the wire."""
    return _KINDS.get(kind, SemiPDError)(sentence)
