"""What passes between the block store and its clients: to each question one answer, in order. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from engine.config import InstanceRole
from engine.resident.manifest import MemorySpec
from engine.wire.codec import Codec, Message

Count = Annotated[int, msgspec.Meta(ge=0)]


class StoreSettings(msgspec.Struct, frozen=True):
    """What a store is started with. `gpu` is an index or a UUID; it means nothing on the CPU."""

    address: str
    total_blocks: int
    block_size: int
    device: Literal["cpu", "cuda"]
    gpu: str
    prefix_caching: bool
    decode_reserve_blocks: int
    log_level: str


# ── questions ───────────────────────────────────────────────────────────────────────────────────────────────────────


class DescribeStore(Message, frozen=True):
    """What store is this? → `StoreDescription`"""


class Allocate(Message, frozen=True):
    """→ `BlockIds`, those that are new."""

    request_id: str
    count: Count
    role: InstanceRole


class Commit(Message, frozen=True):
    """The first `count` blocks are written, or all. → `Done`"""

    request_id: str
    count: Count | None


class Deallocate(Message, frozen=True):
    """→ `Done`, False where the request held nothing."""

    request_id: str


class Share(Message, frozen=True):
    """→ `Done`, False where the source holds nothing."""

    source: str
    target: str


class HandOver(Message, frozen=True):
    """Another connection may take the request over. → `Done`"""

    request_id: str


class TakeOver(Message, frozen=True):
    """→ `BlockIds`, all of the request's."""

    request_id: str


class Locate(Message, frozen=True):
    """Where are the request's blocks? → `Location`"""

    request_id: str


class Map(Message, frozen=True):
    """May these blocks be mapped? → `Mappable`, with the memory's descriptor where it has one.

    `lease` and `term` are those of the `Location`.
    """

    lease: int
    term: int | None
    block_ids: tuple[Count, ...]
    writing: bool


class TakeStock(Message, frozen=True):
    """→ `Stock`"""


Question = DescribeStore | Allocate | Commit | Deallocate | Share | HandOver | TakeOver | Locate | Map | TakeStock

# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class StoreDescription(Message, frozen=True):
    """`gpu` is a UUID; it means nothing on the CPU."""

    total_blocks: int
    block_size: int
    device: Literal["cpu", "cuda"]
    gpu: str
    memory: MemorySpec


class BlockIds(Message, frozen=True):
    block_ids: list[int]


class Done(Message, frozen=True):
    """`changed`: there was something to do."""

    changed: bool


class Location(Message, frozen=True):
    """`lease` names this holding of blocks for ever; `term` lets its bearer write, None only read."""

    lease: int
    term: int | None
    block_ids: list[int]
    committed: list[bool]


class Mappable(Message, frozen=True):
    """Yes."""


class StorageStatistics(msgspec.Struct, frozen=True):
    """Blocks at one instant: free + used = total, prefill + decode = used. `shared`: held by more than one request."""

    total_blocks: int
    free_blocks: int
    used_blocks: int
    shared_blocks: int
    committed_blocks: int
    prefill_blocks: int
    decode_blocks: int
    requests: int
    connections: int


class Stock(Message, frozen=True):
    statistics: StorageStatistics


class Refused(Message, frozen=True):
    """`kind` names an exception, see `engine.storage.refusals`."""

    kind: str
    sentence: str


Answer = StoreDescription | BlockIds | Done | Location | Mappable | Stock | Refused

TO_STORE: Codec[Question] = Codec(Question)
FROM_STORE: Codec[Answer] = Codec(Answer)
