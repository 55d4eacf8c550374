"""A step over segments, launched: what it draws is on the device until it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch

from engine.model.logprobs import with_logprobs
from engine.model.segment import Drawn
from engine.request import SamplingParams


class LaunchedStep:
    """`token_ids`: int64 [B], drawn from `logits` [B, vocab] for those of the segments that have `sampling`.

    To be made on torch's current stream, right behind the step.
    """

    def __init__(self, sampling: Sequence[SamplingParams | None], token_ids: torch.Tensor, logits: torch.Tensor):
        self.token_ids = token_ids
        self.draw_of = list(accumulate((choice is not None for choice in sampling), initial=0))
        """Of each segment that draws: which of the B is its."""
        self._sampling = sampling
        self._logits = logits
        self._on_host, self._done = token_ids, None
        if token_ids.is_cuda:
            self._on_host = torch.empty(token_ids.shape, dtype=token_ids.dtype, pin_memory=True)
            self._on_host.copy_(token_ids, non_blocking=True)
            self._done = torch.cuda.Event()
            self._done.record()

    @property
    def is_over(self) -> bool:
        return self._done is None or self._done.query()

    @torch.inference_mode()
    def tokens(self) -> list[Drawn | None]:
        """What each segment has drawn, None without `sampling`. Waits for the step: then K and V it writes are there.

        Where log-probabilities are wanted, also for those that were launched since.
        """
        if self._done is not None:
            self._done.synchronize()
        choices = [choice for choice in self._sampling if choice is not None]
        is_asked_more = any(choice.logprobs is not None for choice in choices)
        drawn = iter(with_logprobs(self.token_ids if is_asked_more else self._on_host, self._logits, choices))
        return [next(drawn) if choice else None for choice in self._sampling]


class Fed(NamedTuple):
    """Segments of one token that the step `before` draws, which the host need not know: by number, the segment of that
    step which draws it."""

    before: LaunchedStep
    drawn_by: Mapping[int, int]
