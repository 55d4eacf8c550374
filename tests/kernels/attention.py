"""Attention written out token by token, and caches to try kernels on."""

from __future__ import annotations

import random
from typing import NamedTuple

import torch

STALE = 100.0
"""What a page's unused slots hold: numbers of its last owner, large enough that a wrong read shows."""


class Case(NamedTuple):
    """A step's arguments for `plan`: B sequences in a pool of `num_pages` pages."""

    starts: list[int]
    lengths: list[int]
    page_tables: list[list[int]]
    page_size: int
    num_pages: int


class Tensors(NamedTuple):
    """A layer's cache as it was before the step, and the step's q, k and v."""

    kv: torch.Tensor
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor


def case(starts: list[int], lengths: list[int], page_size: int, spare: int = 1, seed: int = 0) -> Case:
    """Page tables in random order, each `spare` pages longer than needed, from a pool twice as large without page 0."""
    counts = [-(-(start + length) // page_size) + spare for start, length in zip(starts, lengths, strict=True)]
    num_pages = 2 * sum(counts) + 1
    pages = random.Random(seed).sample(range(1, num_pages), sum(counts))
    tables = [[pages.pop() for _ in range(count)] for count in counts]
    return Case(starts, lengths, tables, page_size, num_pages)


def tensors(step: Case, heads: int, kv_heads: int, head_dim: int, seed: int = 0) -> Tensors:
    """float32. Positions before the step are filled in; pages of no sequence hold NaN, except page 0."""
    generator = torch.Generator().manual_seed(seed)
    kv = torch.full((step.num_pages, 2, step.page_size, kv_heads, head_dim), torch.nan)
    kv[0] = STALE
    for start, table in zip(step.starts, step.page_tables, strict=True):
        kv[table] = STALE
        for position in range(start):
            kv[table[position // step.page_size], :, position % step.page_size] = torch.randn(
                2, kv_heads, head_dim, generator=generator
            )
    total = sum(step.lengths)
    q, k, v = (torch.randn(total, count, head_dim, generator=generator) for count in (heads, kv_heads, kv_heads))
    return Tensors(kv, q, k, v)


def written(step: Case, given: Tensors) -> torch.Tensor:
    """The cache after the step."""
    kv = given.kv.clone()
    row = 0
    for start, length, table in zip(step.starts, step.lengths, step.page_tables, strict=True):
        for position in range(start, start + length):
            page, slot = table[position // step.page_size], position % step.page_size
            kv[page, 0, slot], kv[page, 1, slot] = given.k[row], given.v[row]
            row += 1
    return kv


def attended(step: Case, given: Tensors) -> torch.Tensor:
    """softmax(q·k / √head_dim)·v over a token's own and all earlier positions, in float64, one token at a time."""
    kv = written(step, given).double()
    group_size = given.q.shape[1] // kv.shape[3]
    rows = []
    for start, length, table in zip(step.starts, step.lengths, step.page_tables, strict=True):
        for position in range(start, start + length):
            places = [(table[at // step.page_size], at % step.page_size) for at in range(position + 1)]
            keys = torch.stack([kv[page, 0, slot] for page, slot in places]).repeat_interleave(group_size, dim=1)
            values = torch.stack([kv[page, 1, slot] for page, slot in places]).repeat_interleave(group_size, dim=1)
            scores = torch.einsum("hd,lhd->hl", given.q[len(rows)].double(), keys) / given.q.shape[-1] ** 0.5
            rows.append(torch.einsum("hl,lhd->hd", scores.softmax(-1), values))
    return torch.stack(rows).float()
