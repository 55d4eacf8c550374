"""The shared-memory table in which the scheduler tells all gateways how loaded it is. One writer, many readers.

It says nothing about whether its writer is alive: readers learn that from their connection.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import Self

import msgspec

KEY_SLOTS = 256
"""Keys whose live requests are counted; where more keys are live, those with the most requests are kept."""

MAGIC = 0x53504C5434  # "SPLT4" names the layout below: another layout, another number
_HEADER = struct.Struct("=QQQ")  # magic, sequence, checksum of the content
_MAGIC_WORD, _SEQUENCE_WORD, _CHECKSUM_WORD = range(3)
_NUMBERS = struct.Struct("=15I3Q6dQ")  # a snapshot's fields in order, then how many key slots follow
_KEY = struct.Struct("=12sI")  # key id, live requests
SIZE = _HEADER.size + _NUMBERS.size + KEY_SLOTS * _KEY.size
_READ_ATTEMPTS = 100


class LoadSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """How loaded the engine is.

    `queue_limit`: requests that may wait. `key_limit`: live requests of one API key, 0 for no limit. `max_model_len`:
    tokens, prompt and answer together, that the model serves. `pool_tokens`: tokens that the whole KV pool holds.
    `cached_pages`: free pages that still hold a prefix. `prefill_share`, `decode_share`: percent of the SMs asked for
    by the workers that take orders; `prefill_sms`, `decode_sms`: what they hold, 0 where there are none. Preemptions,
    steps, seconds spent in steps and those of them with the whole device (borrowed) count from the scheduler's start.
    `wait_seconds`: how long a request that comes now would wait, at most `wait_limit_seconds` (0 for no limit).
    `live_by_key`: live requests of each key id.
    """

    ready: bool
    waiting: int = 0
    running: int = 0
    free_pages: int = 0
    total_pages: int = 0
    queue_limit: int = 0
    max_model_len: int = 0
    pool_tokens: int = 0
    key_limit: int = 0
    cached_pages: int = 0
    prefill_share: int = 0
    decode_share: int = 0
    prefill_sms: int = 0
    decode_sms: int = 0
    page_size: int = 0
    preemptions: int = 0
    prefill_steps: int = 0
    decode_steps: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    prefill_borrowed_seconds: float = 0.0
    decode_borrowed_seconds: float = 0.0
    wait_seconds: float = 0.0
    wait_limit_seconds: float = 0.0
    live_by_key: dict[str, int] = {}

    @property
    def kv_usage(self) -> float:
        """The part of all pages that is in use, from 0 to 1."""
        return 1.0 - self.free_pages / self.total_pages if self.total_pages else 0.0


NOT_READY = LoadSnapshot(ready=False)
_NUMBER_FIELDS = LoadSnapshot.__struct_fields__[:-1]


class LoadTable:
    """A mapped file guarded by a sequence lock: its sequence is odd while the writer writes.

    Python has no memory fence, so where stores are reordered an even sequence proves little: the checksum decides.
    """

    def __init__(self, memory: mmap.mmap):
        self._memory = memory
        self._words = memoryview(memory)[: _HEADER.size].cast("Q")
        self._last_read = NOT_READY

    @classmethod
    def create(cls, path: Path) -> Self:
        """The writer's table, not ready yet. A file already there is taken over in place, so that readers go on."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, SIZE)
            table = cls(mmap.mmap(descriptor, SIZE))
        finally:
            os.close(descriptor)
        table.publish(NOT_READY)
        table._words[_MAGIC_WORD] = MAGIC
        return table

    @classmethod
    def open(cls, path: Path) -> Self:
        """A reader's table. Raises `FileNotFoundError` while no writer has made it."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if os.fstat(descriptor).st_size != SIZE:
                raise FileNotFoundError(f"{path} is no load table yet.")
            return cls(mmap.mmap(descriptor, SIZE, prot=mmap.PROT_READ))
        finally:
            os.close(descriptor)

    def publish(self, snapshot: LoadSnapshot) -> None:
        """Replace what readers see. Numbers must fit their part of `_NUMBERS`; key ids have at most 12 bytes."""
        content = _pack(snapshot)
        odd = self._words[_SEQUENCE_WORD] | 1  # it is odd already where a former writer died while writing
        self._words[_SEQUENCE_WORD] = odd
        self._words[_CHECKSUM_WORD] = zlib.crc32(content)
        self._memory[_HEADER.size : _HEADER.size + len(content)] = content
        self._words[_SEQUENCE_WORD] = odd + 1

    def read(self) -> LoadSnapshot:
        """What was published last; what was read before where the writer stays in the middle of a write."""
        for _ in range(_READ_ATTEMPTS):
            content = self._try_read()
            if content is not None:
                self._last_read = _unpack(content)
                break
        return self._last_read

    def close(self) -> None:
        """Unmap the table."""
        self._words.release()
        self._memory.close()

    def _try_read(self) -> bytes | None:
        sequence, checksum = self._words[_SEQUENCE_WORD], self._words[_CHECKSUM_WORD]
        if sequence % 2 or self._words[_MAGIC_WORD] != MAGIC:
            return None
        copy = self._memory[_HEADER.size : SIZE]
        if self._words[_SEQUENCE_WORD] != sequence:
            return None
        key_count = _NUMBERS.unpack_from(copy)[-1]
        content = copy[: _NUMBERS.size + key_count * _KEY.size]
        return content if zlib.crc32(content) == checksum else None


def _pack(snapshot: LoadSnapshot) -> bytes:
    keys = snapshot.live_by_key.items()
    if len(keys) > KEY_SLOTS:
        keys = sorted(keys, key=lambda item: item[1], reverse=True)[:KEY_SLOTS]
    numbers = msgspec.structs.astuple(snapshot)[:-1]
    return _NUMBERS.pack(*numbers, len(keys)) + b"".join(_KEY.pack(key_id.encode(), live) for key_id, live in keys)


def _unpack(content: bytes) -> LoadSnapshot:
    *numbers, _ = _NUMBERS.unpack_from(content)
    keys = _KEY.iter_unpack(content[_NUMBERS.size :])
    live_by_key = {key.rstrip(b"\0").decode(): live for key, live in keys}
    fields = dict(zip(_NUMBER_FIELDS, numbers, strict=True))
    return LoadSnapshot(**{**fields, "ready": bool(fields["ready"])}, live_by_key=live_by_key)
