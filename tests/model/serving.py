"""A model served the way a worker does it: mapped weights, a paged cache, page tables in no order."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import torch

from engine.model.checkpoint import load_checkpoint, weights_of
from engine.model.config import ModelConfig
from engine.model.layout import layout_of, pack
from engine.model.runner import ModelRunner, build_runner
from engine.model.segment import Segment
from engine.request import SamplingParams
from engine.resident.manifest import KVSpec

GREEDY = SamplingParams(max_tokens=1, temperature=0.0)


@dataclass
class Sequence:
    """One request's tokens and pages, and how many of the tokens are in the cache."""

    token_ids: list[int]
    pages: list[int]
    computed: int = 0
    drawn: list[int] = field(default_factory=list)

    @property
    def is_prefilled(self) -> bool:
        return self.computed >= len(self.token_ids)

    def segment(self, most: int, sampling: SamplingParams = GREEDY) -> Segment:
        """Its next `most` tokens at most; the last of them draws."""
        new = (self.token_ids + self.drawn)[self.computed : self.computed + most]
        is_last = self.computed + len(new) == len(self.token_ids) + len(self.drawn)
        return Segment(new, self.computed, self.pages, sampling if is_last else None, len(self.drawn))


class Server:
    """A runner over a KV pool whose pages are handed out in random order."""

    def __init__(
        self,
        path: Path,
        page_size: int,
        num_pages: int = 200,
        seed: int = 0,
        dtype: str = "float32",
        is_deterministic: bool = False,
    ):
        self.config = ModelConfig.load(path)
        layout = layout_of(self.config)
        packed = pack(layout, dtype)
        self.weights_region = torch.zeros(packed.nbytes, dtype=torch.uint8)
        load_checkpoint(path, self.weights_region, layout, dtype)
        weights = weights_of(self.weights_region, packed.specs, dtype)
        self.kv = KVSpec(
            num_layers=self.config.num_layers,
            num_pages=num_pages,
            page_size=page_size,
            num_kv_heads=self.config.num_kv_heads,
            head_dim=self.config.head_dim,
            dtype=dtype,
        )
        # Pages come back to the pool with another request's numbers in them: large ones, so that a wrong read shows.
        element = weights["embed"].dtype
        self.kv_region = torch.full((self.kv.nbytes // element.itemsize,), 1e4, dtype=element).view(torch.uint8)
        self.runner: ModelRunner = build_runner(
            self.config,
            weights,
            self.kv_region,
            self.kv,
            "cpu",
            torch.device("cpu"),
            is_deterministic=is_deterministic,
        )
        self._free_pages = list(range(1, num_pages))
        random.Random(seed).shuffle(self._free_pages)

    def sequence(self, token_ids: list[int], max_tokens: int) -> Sequence:
        count = -(-(len(token_ids) + max_tokens) // self.kv.page_size)
        pages, self._free_pages = self._free_pages[:count], self._free_pages[count:]
        return Sequence(token_ids, pages)

    def step(self, sequences: list[Sequence], most: int) -> None:
        """Compute at most `most` tokens of each sequence in one step."""
        segments = [sequence.segment(most) for sequence in sequences]
        results = self.runner.step(segments)
        for sequence, segment, choice in zip(sequences, segments, results, strict=True):
            assert (choice is None) == (segment.sampling is None)
            sequence.computed += len(segment.token_ids)
            if choice is not None:
                sequence.drawn.append(choice.token_id)


def prompts(count: int, vocab_size: int, longest: int, seed: int = 0) -> list[list[int]]:
    """Random prompts of 1 … `longest` tokens."""
    source = random.Random(seed)
    return [[source.randrange(vocab_size) for _ in range(source.randint(1, longest))] for _ in range(count)]
