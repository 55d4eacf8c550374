"""Where a request's blocks are: a plain value that can be pickled, from which any process maps the very bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, overload

from engine.resident.manifest import MemorySpec
from engine.storage.channel import ask, connect
from engine.storage.messages import Map, Mappable

if TYPE_CHECKING:
    import torch


class BlockSpan(NamedTuple):
    """One block: `nbytes` at `offset` of the store's memory. `committed` when the handles were made."""

    block_id: int
    offset: int
    nbytes: int
    committed: bool


@dataclass(frozen=True, slots=True)
class BlockHandles:
    """A request's blocks in order: `handles[2]` is one span, `handles[2:]` are the handles of some.

    `memory` is a `memfd`, whose descriptor the store at `address` hands out, or a CUDA IPC handle on the GPU with the
    UUID `gpu`. `term` is None for who may only read.
    """

    address: str
    device: Literal["cpu", "cuda"]
    gpu: str
    memory: MemorySpec
    request_id: str
    lease: int
    term: int | None
    spans: tuple[BlockSpan, ...]

    def __len__(self) -> int:
        return len(self.spans)

    def __iter__(self) -> Iterator[BlockSpan]:
        return iter(self.spans)

    @overload
    def __getitem__(self, part: int) -> BlockSpan: ...

    @overload
    def __getitem__(self, part: slice) -> BlockHandles: ...

    def __getitem__(self, part: int | slice) -> BlockSpan | BlockHandles:
        return self.spans[part] if isinstance(part, int) else replace(self, spans=self.spans[part])

    def map(self, *, writing: bool = False) -> list[torch.Tensor]:
        """Each block as uint8 [block_size], never a copy; the store is asked whether that is all right now.

        To read, all blocks must be committed, else `NotCommitted`. To write, none may be, and the handles must come
        from the request's holder, else `NotWritable`. `UnknownRequest` if the blocks were deallocated. What is mapped
        for reading must not be written: torch knows no read-only tensor. It stays mapped when the blocks are
        deallocated; who wants to read on shares them first. Each call maps the memory anew, on the CPU with a
        descriptor of its own for as long as one of the tensors lives: map a request's blocks together.
        """
        from engine.device.open_device import open_device  # noqa: PLC0415  handles are passed on without torch

        question = Map(self.lease, self.term, tuple(span.block_id for span in self.spans), writing)
        with closing(connect(self.address)) as connection:
            _, fd = ask(connection, question, Mappable)
        try:
            mapped = open_device(self.device, self.gpu).map(self.memory, fd)
        finally:
            if fd is not None:
                os.close(fd)
        return [mapped[span.offset : span.offset + span.nbytes] for span in self.spans]
