"""The kernels on NVIDIA GPUs: FlashInfer's, and our own for decode. Everything runs on torch's current stream."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from importlib import import_module
from itertools import takewhile
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from engine.errors import CannotStart
from engine.kernels.decode_attention import DecodeAttention, LanesPlan
from engine.kernels.product_choices import ProductChoices
from engine.kernels.products import Products, ProductTools
from engine.kernels.upload import upload
from engine.kernels.work_list import PIECE_NUMBERS, WorkList
from engine.resident.manifest import KVSpec

HEAD_DIMS = (64, 128, 256)
DTYPES = ("bfloat16", "float16")
WORKSPACE_BYTES = 128 << 20


class PagedBatch(NamedTuple):
    """A step in FlashInfer's words, int32 on the host. Sequence i owns entries indptr[i] … indptr[i + 1]."""

    batch_indices: np.ndarray
    """[T]: the sequence of each new token."""
    positions: np.ndarray
    """[T]: its position in that sequence."""
    qo_indptr: np.ndarray
    """[B + 1] into the new tokens."""
    kv_indptr: np.ndarray
    """[B + 1] into `kv_indices`."""
    kv_indices: np.ndarray
    """The page tables, one behind the other, cut to the pages in use."""
    last_page_len: np.ndarray
    """[B]: slots in use in the last page, 1 … page_size."""


class PromptPlan(NamedTuple):
    """A planned wrapper, and what `append_paged_kv_cache` needs on the device. Valid until the next `plan`."""

    wrapper: Any
    batch_indices: torch.Tensor
    positions: torch.Tensor
    kv_indptr: torch.Tensor
    kv_indices: torch.Tensor
    last_page_len: torch.Tensor


class PackedPlan(NamedTuple):
    """Prompts, and the lanes whose rows stand behind theirs. Valid until the next `plan`."""

    prompts: PromptPlan
    lanes: LanesPlan


class CudaKernels:
    """Implements `Kernels`. `rotate_and_attend` and `add_rms_norm` may work in place: use what they return.

    `sm_count`: of the part of the chip they run on, None for all of it. `choices`: which algorithms are fastest there;
    without, the library chooses. `is_deterministic`: what a sequence gives
    follows from its own tokens and the number of rows of a step, not from the SMs or from other sequences.

    Raises `CannotStart` for what FlashInfer does not compute: other element types than bfloat16 and float16, other head
    dimensions than 64, 128 and 256.
    """

    def __init__(
        self,
        kv: KVSpec,
        num_heads: int,
        torch_device: torch.device,
        sm_count: int | None = None,
        is_deterministic: bool = False,
        choices: ProductChoices | None = None,
    ):
        _check(kv)
        self._flashinfer = flashinfer_module()
        self.is_deterministic = is_deterministic
        self._tools = ProductTools(getattr(torch, kv.dtype), torch_device, choices or ProductChoices())
        self._products = Products(self._tools, sm_count, is_deterministic)
        self.kv = kv
        self.num_heads = num_heads
        self._device = torch_device
        self.decode_attention = DecodeAttention(kv, num_heads)
        workspace = torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=torch_device)
        on_hopper = torch.cuda.get_device_capability(torch_device)[0] == 9
        self._prefill = self._flashinfer.BatchPrefillWithPagedKVCacheWrapper(
            workspace, "NHD", backend="fa3" if on_hopper else "fa2"
        )
        self._planned = torch.cuda.Event()

    def of_part(self, sm_count: int | None) -> Self:
        """The same kernels to run on so many SMs, None for the whole chip. They are not to be used at the same time."""
        other = copy.copy(self)
        other._products = Products(self._tools, sm_count, self.is_deterministic)
        return other

    def plan(
        self, starts: Sequence[int], lengths: Sequence[int], page_tables: Sequence[Sequence[int]]
    ) -> PromptPlan | LanesPlan | PackedPlan:
        # Where bits may not depend on the company, what is left of a prompt goes the way of its other chunks.
        end = len(lengths) if self.is_deterministic else len(lengths) - lanes_at_the_end(lengths)
        if end == 0:
            return self._lanes_plan(starts, page_tables)
        prompts = self._prompts_plan(starts[:end], lengths[:end], page_tables[:end])
        if end == len(lengths):
            return prompts
        return PackedPlan(prompts, self._lanes_plan(starts[end:], page_tables[end:]))

    def _prompts_plan(
        self, starts: Sequence[int], lengths: Sequence[int], page_tables: Sequence[Sequence[int]]
    ) -> PromptPlan:
        batch = paged_batch(starts, lengths, page_tables, self.kv.page_size)
        on_device = (batch.batch_indices, batch.positions, batch.kv_indptr, batch.kv_indices, batch.last_page_len)
        together = upload(np.concatenate(on_device), self._device)
        parts = together.split([len(part) for part in on_device])
        plan = PromptPlan(self._prefill, *parts)
        self._plan_prompts(plan, batch)
        return plan

    def _lanes_plan(self, starts: Sequence[int], page_tables: Sequence[Sequence[int]]) -> LanesPlan:
        """Lengths and tables are put where the kernel reads them; a graph has its own place for them."""
        positions, width = np.array(starts, dtype=np.int32), max(map(len, page_tables))
        work = WorkList(len(starts), self.kv.num_kv_heads, width * self.kv.page_size)
        numbers = np.zeros(work.pieces * PIECE_NUMBERS + len(starts) * width, dtype=np.int32)
        pieces, tables = np.split(numbers, [work.pieces * PIECE_NUMBERS])
        work.fill(pieces.reshape(-1, PIECE_NUMBERS), positions)
        for row, table in zip(tables.reshape(-1, width), page_tables, strict=True):
            row[: len(table)] = table
        on_device = upload(numbers, self._device).split([len(pieces), len(tables)])
        return LanesPlan(
            on_device[0].view(-1, PIECE_NUMBERS),
            on_device[1].view(-1, width),
            self.decode_attention.results(work.pieces, len(starts), self._device),
        )

    def _plan_prompts(self, plan: PromptPlan, batch: PagedBatch) -> None:
        # FlashInfer plans on the host. What it reads there must lie there, or it would wait for the GPU. It writes its
        # plan where the last one is copied from: behind a step in flight, that copy may not be over.
        self._planned.synchronize()
        dtype = getattr(torch, self.kv.dtype)
        plan.wrapper.plan(
            torch.from_numpy(batch.qo_indptr),
            torch.from_numpy(batch.kv_indptr),
            plan.kv_indices,
            torch.from_numpy(batch.last_page_len),
            self.num_heads,
            self.kv.num_kv_heads,
            self.kv.head_dim,
            self.kv.page_size,
            causal=True,
            q_data_type=dtype,
            kv_data_type=dtype,
            disable_split_kv=self.is_deterministic,
        )
        self._planned.record()

    def rotate_and_attend(
        self,
        plan: PromptPlan | LanesPlan | PackedPlan,
        kv: torch.Tensor,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        cos_sin: torch.Tensor,
    ) -> torch.Tensor:
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        match plan:
            case LanesPlan():
                self.decode_attention.run(plan, kv, q, k, v, cos_sin, out)
            case PromptPlan():
                self._attend_prompts(plan, kv, q, k, v, cos_sin, out)
            case PackedPlan(prompts, lanes):
                rows = len(prompts.positions)
                self._attend_prompts(prompts, kv, q[:rows], k[:rows], v[:rows], cos_sin, out[:rows])
                self.decode_attention.run(lanes, kv, q[rows:], k[rows:], v[rows:], cos_sin, out[rows:])
        return out

    def _attend_prompts(
        self,
        plan: PromptPlan,
        kv: torch.Tensor,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        cos_sin: torch.Tensor,
        out: torch.Tensor,
    ) -> None:
        self.rotate(plan, q, k, cos_sin)
        self.append(plan, kv, k, v)
        plan.wrapper.run(q, kv, out=out)

    def rotate(self, plan: PromptPlan, q: torch.Tensor, k: torch.Tensor, cos_sin: torch.Tensor) -> None:
        """Give q and k their positions, in place."""
        self._flashinfer.apply_rope_with_cos_sin_cache_inplace(plan.positions, q, k, self.kv.head_dim, cos_sin)

    def append(self, plan: PromptPlan, kv: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
        """Write k and v to their pages."""
        self._flashinfer.append_paged_kv_cache(
            k, v, plan.batch_indices, plan.positions, kv, plan.kv_indices, plan.kv_indptr, plan.last_page_len, "NHD"
        )

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        return self._flashinfer.rmsnorm(x, weight, eps)

    def add_rms_norm(
        self, x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self._flashinfer.fused_add_rmsnorm(x, residual, weight, eps)
        return x, residual

    def silu_and_mul(self, gate_up: torch.Tensor) -> torch.Tensor:
        return self._flashinfer.silu_and_mul(gate_up)

    def linear(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self._products.linear(x, weight, bias, out)

    def gated(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        in_one = self._products.gated(x, weight)
        return self.silu_and_mul(self.linear(x, weight, None)) if in_one is None else in_one


def lanes_at_the_end(lengths: Sequence[int]) -> int:
    """How many sequences at the end of a step have one new token each: there a packed step has its decode lanes.

    FlashInfer's prefill attention would compute a tile of queries for each of them.
    """
    return sum(1 for _ in takewhile(lambda length: length == 1, reversed(lengths)))


def paged_batch(
    starts: Sequence[int], lengths: Sequence[int], page_tables: Sequence[Sequence[int]], page_size: int
) -> PagedBatch:
    """The index arrays of one step; arguments as for `Kernels.plan`."""
    new, first = np.array(lengths), np.array(starts)
    page_counts = -(-(first + new) // page_size)
    qo_indptr = np.cumsum([0, *lengths])
    pages = [np.array(table[:count]) for table, count in zip(page_tables, page_counts, strict=True)]
    arrays = (
        np.repeat(np.arange(len(lengths)), new),
        np.arange(qo_indptr[-1]) + np.repeat(first - qo_indptr[:-1], new),
        qo_indptr,
        np.cumsum([0, *page_counts]),
        np.concatenate(pages),
        first + new - (page_counts - 1) * page_size,
    )
    return PagedBatch(*(array.astype(np.int32) for array in arrays))


def _check(kv: KVSpec) -> None:
    if kv.dtype not in DTYPES:
        raise CannotStart(f"On CUDA, dtype cannot be {kv.dtype!r}: FlashInfer computes in {' or '.join(DTYPES)}.")
    if kv.head_dim not in HEAD_DIMS:
        raise CannotStart(
            f"On CUDA, head_dim cannot be {kv.head_dim}: FlashInfer has attention for {', '.join(map(str, HEAD_DIMS))}."
        )


def flashinfer_module() -> Any:
    """FlashInfer, imported only where it is used. Raises `CannotStart` where it is not installed."""
    try:
        return import_module("flashinfer")
    except ImportError as error:
        raise CannotStart(f"FlashInfer cannot be imported ({error}): install this package's extra 'cuda'.") from error
