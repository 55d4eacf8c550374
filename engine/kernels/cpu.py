"""The kernels in plain torch: what they do is easiest read here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from torch.nn.functional import linear, scaled_dot_product_attention, silu

LANE_TOKENS = 2048
"""Of how many tokens K and V are gathered at once for decode lanes: more would not stay in the processor's cache."""


class NewTokens(NamedTuple):
    """The new tokens of a sequence: their rows among the step's T tokens, their positions, the pages up to them."""

    rows: np.ndarray
    positions: np.ndarray
    pages: np.ndarray


class Group(NamedTuple):
    """B sequences with n new tokens each, which attend together.

    `rows` [B · n] are their rows among the step's T tokens. `halves` [2 · B · P] is where K of their pages lies, then
    where V does, the page tables filled up with page 0 to the longest; page p has its K at 2p and its V at 2p + 1.
    `mask` [B, 1, n, P · page_size] is true where a token may look: at itself and all before.
    """

    rows: torch.Tensor
    halves: torch.Tensor
    mask: torch.Tensor


class CpuPlan(NamedTuple):
    """`positions` [T], and `pages` and `slots` [T]: where K and V of each new token go."""

    positions: torch.Tensor
    pages: torch.Tensor
    slots: torch.Tensor
    groups: list[Group]


class CpuKernels:
    """Implements `Kernels`. A layer of the cache is [pages, 2 (K, V), page_size, kv heads, head_dim]."""

    def __init__(self, page_size: int, is_deterministic: bool = False):
        self._page_size = page_size
        self._is_deterministic = is_deterministic
        self._gathered = torch.empty(0)

    def of_part(self, sm_count: int | None) -> Self:
        return self

    def plan(self, starts: Sequence[int], lengths: Sequence[int], page_tables: Sequence[Sequence[int]]) -> CpuPlan:
        first_rows = np.cumsum([0, *lengths[:-1]])
        sequences = [self._new_tokens(*each) for each in zip(first_rows, starts, lengths, page_tables, strict=True)]
        # Decode lanes, with one new token each, are computed together, longer chunks one by one.
        lanes = self._alike([sequence for sequence in sequences if len(sequence.rows) == 1])
        chunks = [[sequence] for sequence in sequences if len(sequence.rows) > 1]
        positions = np.concatenate([sequence.positions for sequence in sequences])
        pages = np.concatenate([each.pages[each.positions // self._page_size] for each in sequences])
        return CpuPlan(
            positions=torch.from_numpy(positions),
            pages=torch.from_numpy(pages),
            slots=torch.from_numpy(positions % self._page_size),
            groups=[self._group(members) for members in [*lanes, *chunks]],
        )

    def _new_tokens(self, first_row: int, start: int, length: int, page_table: Sequence[int]) -> NewTokens:
        needed = math.ceil((start + length) / self._page_size)
        steps = np.arange(length)
        return NewTokens(first_row + steps, start + steps, np.array(page_table[:needed], dtype=np.int64))

    def _alike(self, lanes: Sequence[NewTokens]) -> list[list[NewTokens]]:
        """Lanes of about the same length together, so that little is filled up, at most `LANE_TOKENS` if several.

        Where bits may not depend on the company each is alone, but for those on page 0, which are nobody's.
        """
        if self._is_deterministic:
            padding = [lane for lane in lanes if lane.pages[0] == 0]
            return [*([padding] if padding else []), *([lane] for lane in lanes if lane.pages[0] != 0)]
        batches: list[list[NewTokens]] = []
        for lane in sorted(lanes, key=lambda lane: len(lane.pages)):
            tokens = len(lane.pages) * self._page_size
            if not batches or (len(batches[-1]) + 1) * tokens > LANE_TOKENS:
                batches.append([])
            batches[-1].append(lane)
        return batches

    def _group(self, members: Sequence[NewTokens]) -> Group:
        pages = np.zeros((len(members), max(len(member.pages) for member in members)), dtype=np.int64)
        for row, member in zip(pages, members, strict=True):
            row[: len(member.pages)] = member.pages
        positions = torch.from_numpy(np.stack([member.positions for member in members]))
        seen = torch.arange(pages.shape[1] * self._page_size) <= positions[:, None, :, None]
        rows = np.concatenate([member.rows for member in members])
        halves = 2 * pages.reshape(-1)
        return Group(torch.from_numpy(rows), torch.from_numpy(np.concatenate([halves, halves + 1])), seen)

    def rotate_and_attend(
        self,
        plan: CpuPlan,
        kv: torch.Tensor,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        cos_sin: torch.Tensor,
    ) -> torch.Tensor:
        return self.attend(plan, kv, *self.rotate(q, k, plan.positions, cos_sin), v)

    def rotate(
        self, q: torch.Tensor, k: torch.Tensor, positions: torch.Tensor, cos_sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        cos, sin = cos_sin[positions].unsqueeze(1).chunk(2, dim=-1)
        return _turned(q, cos, sin), _turned(k, cos, sin)

    def attend(
        self, plan: CpuPlan, kv: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> torch.Tensor:
        """The same for q and k that have their positions already."""
        kv[plan.pages, 0, plan.slots] = k
        kv[plan.pages, 1, plan.slots] = v
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        for group in plan.groups:
            out[group.rows] = self._attend_group(group, kv, q[group.rows])
        return out

    def _attend_group(self, group: Group, kv: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        batch, _, new, seen = group.mask.shape
        kv_heads = kv.shape[3]
        gathered = self._gather(kv, group.halves).view(2, batch, seen, *kv.shape[3:])
        k, v = gathered.transpose(2, 3).unbind(0)
        # The query heads that share K and V become so many queries of one head: K and V are then read once.
        q = q.view(batch, new, kv_heads, -1, q.shape[-1]).permute(0, 2, 3, 1, 4)
        mask = group.mask.repeat(1, 1, q.shape[2], 1)
        out = scaled_dot_product_attention(q.flatten(2, 3), k, v, attn_mask=mask).view(q.shape)
        return out.permute(0, 3, 1, 2, 4).flatten(0, 1).flatten(1, 2)

    def _gather(self, kv: torch.Tensor, halves: torch.Tensor) -> torch.Tensor:
        """Those halves of pages, in memory that is kept: fresh memory costs more than what is copied to it."""
        shape = (len(halves), *kv.shape[2:])
        needed = math.prod(shape)
        if self._gathered.numel() < needed or self._gathered.dtype != kv.dtype:
            self._gathered = kv.new_empty(needed)
        return torch.index_select(kv.flatten(0, 1), 0, halves, out=self._gathered[:needed].view(shape))

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps)
        return (wide * scale * weight.float()).to(x.dtype)

    def add_rms_norm(
        self, x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        residual = x + residual
        return self.rms_norm(residual, weight, eps), residual

    def silu_and_mul(self, gate_up: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        return silu(gate) * up

    def linear(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        return linear(x, weight, bias) if out is None else torch.mm(x, weight.t(), out=out)

    def gated(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return self.silu_and_mul(linear(x, weight))


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Each pair (x[j], x[j + head_dim / 2]) turned by its angle."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
