"""Under which load the phases are measured: how many tokens, in which pages. Plain numbers, no torch."""

from __future__ import annotations

import random
from typing import Self

import msgspec

from engine.config import ServerArgs
from engine.model.config import ModelConfig
from engine.resident.manifest import KVSpec

MANY_LANES = 256
"""As many as make a decode step of an 8B model compute for as long as it reads; the device's memory must hold their
KV."""
MANY_PART = 0.25
"""Of the memory that is free: so much may be taken for it."""
SPAN_TOKENS = 64
"""Lanes decode so many tokens and then go back to where they began: the context stays what it was."""


class Conditions(msgspec.Struct, frozen=True):
    """Prefill computes prompts of `chunk_tokens`, one a step; decode `decode_lanes` lanes behind `context_tokens`,
    and then `many_lanes`, unless that is 0.

    Shares are multiples of `step_percent`. The phases compute at the same time for `seconds`, or longer where too few
    steps end in that time.
    """

    chunk_tokens: int
    decode_lanes: int
    context_tokens: int
    seconds: float
    step_percent: int = 10
    many_lanes: int = 0

    @classmethod
    def of(cls, settings: ServerArgs, step_percent: int, free_bytes: int | None = None) -> Self:
        """A load as it is met in serving, on a GPU; on the CPU one that takes no time, and has no need of many lanes:
        a share that is kept by resting is the same for all. `free_bytes`: of the GPU, None if not known.

        Raises `CannotStart`.
        """
        assert settings.prefill_token_budget and settings.max_running_requests, "settings are resolved for a device"
        chunk, lanes, context, seconds = (2048, 64, 704, 2.0) if settings.device == "cuda" else (64, 4, 64, 0.3)
        longest = ModelConfig.load(settings.model_path).max_position_embeddings
        few = cls(
            chunk_tokens=min(chunk, settings.prefill_token_budget, longest),
            decode_lanes=min(lanes, settings.max_running_requests),
            context_tokens=max(1, min(context, longest - SPAN_TOKENS)),
            seconds=seconds,
            step_percent=step_percent,
        )
        return msgspec.structs.replace(few, many_lanes=few.many_within(free_bytes, settings))

    def many_within(self, free_bytes: int | None, settings: ServerArgs) -> int:
        """Lanes that a part of that memory holds; 0 where they are not clearly more than few."""
        if settings.device == "cpu" or free_bytes is None:
            return 0
        assert settings.max_running_requests, "settings are resolved for a device"
        lane_bytes = self._lane_pages(settings.page_size) * kv_spec(settings, 1).nbytes
        many = min(MANY_LANES, settings.max_running_requests, int(MANY_PART * free_bytes) // lane_bytes)
        return many if many >= 2 * self.decode_lanes else 0

    @property
    def most_lanes(self) -> int:
        return max(self.decode_lanes, self.many_lanes)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max(self.chunk_tokens, self.context_tokens + SPAN_TOKENS)

    def num_pages(self, page_size: int) -> int:
        """Pages of the KV cache, page 0 included."""
        return 1 + self._prefill_pages(page_size) + self.most_lanes * self._lane_pages(page_size)

    def prefill_table(self, page_size: int) -> list[int]:
        """The pages of the prompt that is prefilled, always the same."""
        return self._shuffled(page_size)[: self._prefill_pages(page_size)]

    def lane_tables(self, page_size: int) -> list[list[int]]:
        """The pages of each lane, of the largest batch. No page belongs to two sequences, and none is page 0."""
        pages, each = self._shuffled(page_size)[self._prefill_pages(page_size) :], self._lane_pages(page_size)
        return [pages[at : at + each] for at in range(0, len(pages), each)]

    def resident_settings(self, settings: ServerArgs) -> ServerArgs:
        """For a resident with random weights and no more KV memory than is used here."""
        kv = kv_spec(settings, self.num_pages(settings.page_size))
        changes = {"load_format": "dummy", "max_model_len": self.longest, "kv_memory_bytes": kv.nbytes}
        return settings.model_copy(update=changes)

    def _shuffled(self, page_size: int) -> list[int]:
        """In no order, as they are after an hour of serving; the same in every process."""
        pages = list(range(1, self.num_pages(page_size)))
        random.Random(0).shuffle(pages)
        return pages

    def _prefill_pages(self, page_size: int) -> int:
        return -(-self.chunk_tokens // page_size)

    def _lane_pages(self, page_size: int) -> int:
        return -(-(self.context_tokens + SPAN_TOKENS) // page_size)


def kv_spec(settings: ServerArgs, num_pages: int) -> KVSpec:
    """Of a KV cache of so many pages. Raises `CannotStart` for a model that cannot be served."""
    config = ModelConfig.load(settings.model_path)
    return KVSpec(
        config.num_layers, num_pages, settings.page_size, config.num_kv_heads, config.head_dim, settings.dtype
    )
