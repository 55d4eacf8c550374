"""What passes between `semi-pd profile` and a probe: one JSON line an order, one an answer."""

from __future__ import annotations

import msgspec

from engine.profile.conditions import Conditions
from engine.resident.manifest import MemorySpec


class Open(msgspec.Struct, frozen=True, tag=True):
    """Map the resident's memory; make the reference, or map one that another probe has made."""

    conditions: Conditions
    reference: MemorySpec | None = None
    exports: bool = False
    """Make the reference in memory that others can map."""


class Take(msgspec.Struct, frozen=True, tag=True):
    """Take the phase's part of this split and get ready to compute in it."""

    prefill_percentage: int
    decode_percentage: int


class Check(msgspec.Struct, frozen=True, tag=True):
    """Compute the phase's matrix products in the part taken."""


class Work(msgspec.Struct, frozen=True, tag=True):
    """Step for so long, decode with so many lanes. Prefill has no use for them."""

    seconds: float
    lanes: int


Order = Open | Take | Check | Work


class Opened(msgspec.Struct, frozen=True, tag=True):
    reference: MemorySpec | None = None


class Taken(msgspec.Struct, frozen=True, tag=True):
    """`sm_count`: 0 on a device without SMs."""

    sm_count: int


class Checked(msgspec.Struct, frozen=True, tag=True):
    """`problem` is empty if all products were right."""

    products: int
    problem: str = ""


class Worked(msgspec.Struct, frozen=True, tag=True):
    """When stepping began and when each step was seen to end, in the machine's monotonic seconds."""

    began: float
    ended: tuple[float, ...]


Answer = Opened | Taken | Checked | Worked

ORDERS = msgspec.json.Decoder(Order)
ANSWERS = msgspec.json.Decoder(Answer)
IMPORTED = b"+\n"
"""The first line a probe says: everything is imported, nothing is held."""
