"""Decode attention for CUDA graphs: plans over fixed buffers, whose contents may change between replays."""

from __future__ import annotations

import math
from typing import Any

import torch

from engine.kernels.cuda import CudaPlan, flashinfer_module
from engine.kernels.work_list import WorkList
from engine.resident.manifest import ITEM_BYTES, KVSpec

_PLAN_LENGTH = 15
_INT_BYTES = 4
_FLOAT_BYTES = 4


class StaticPlans:
    """Plans for steps over up to `lanes` lanes, all on one buffer of numbers and one of intermediate results.

    `tables`: int32 [lanes, table pages], the page tables. They and `numbers`, which a `WorkList` fills, are read by the
    kernels when they run, so that the graph that holds them never changes. FlashInfer's own plan would divide a step by
    the number of SMs, and wants the host for each step: only the shape of the kernel is taken from it. `is_fixed` as
    for `WorkList`.
    """

    def __init__(self, kv: KVSpec, num_heads: int, tables: torch.Tensor, is_fixed: bool = False):
        self._flashinfer = flashinfer_module()
        self._kv = kv
        self._num_heads = num_heads
        self._tables = tables
        self._is_fixed = is_fixed
        largest = self.work_list(len(tables))
        self.numbers = torch.zeros(largest.size, dtype=torch.int32, device=tables.device)
        states = largest.pieces * num_heads
        self._weighted_bytes = _aligned(states * kv.head_dim * ITEM_BYTES[kv.dtype])
        nbytes = self._weighted_bytes + states * _FLOAT_BYTES
        self._results = torch.zeros(nbytes, dtype=torch.uint8, device=tables.device)

    def work_list(self, lanes: int) -> WorkList:
        """How a step over the first `lanes` rows of the tables is to be written to `numbers`."""
        return WorkList(lanes, self._kv.num_kv_heads, self._kv.page_size, self._tables.shape[1], self._is_fixed)

    def plan(self, work: WorkList) -> CudaPlan:
        """What `CudaKernels.attend` needs. Reads nothing of the buffers yet, but writes zeros over the first row."""
        indptr = torch.arange(work.lanes + 1, dtype=torch.int32, device=self._tables.device)
        last_page_len = self.numbers[work.last_page_len]
        wrapper = self._flashinfer.BatchDecodeWithPagedKVCacheWrapper(
            self._results,
            "NHD",
            use_cuda_graph=True,
            use_tensor_cores=True,
            paged_kv_indptr_buffer=indptr,
            paged_kv_indices_buffer=self._tables.view(-1),
            paged_kv_last_page_len_buffer=last_page_len,
        )
        self._let_it_choose_the_kernel(wrapper, work.lanes)
        wrapper._plan_info = type(wrapper._plan_info)(self._plan_info(list(wrapper._plan_info), work))
        wrapper.reset_workspace_buffer(self._results, self.numbers.view(torch.uint8))
        return CudaPlan(
            wrapper=wrapper,
            batch_indices=torch.arange(work.lanes, dtype=torch.int32, device=self._tables.device),
            positions=self.numbers[work.positions],
            kv_indptr=indptr.mul_(self._tables.shape[1]),
            kv_indices=self._tables.view(-1),
            last_page_len=last_page_len,
        )

    def _let_it_choose_the_kernel(self, wrapper: Any, lanes: int) -> None:
        """Plan lanes of one token each on page 0, undivided: that needs no workspace."""
        dtype = getattr(torch, self._kv.dtype)
        wrapper.plan(
            torch.arange(lanes + 1, dtype=torch.int32),
            torch.zeros(lanes, dtype=torch.int32),
            torch.ones(lanes, dtype=torch.int32),
            self._num_heads,
            self._kv.num_kv_heads,
            self._kv.head_dim,
            self._kv.page_size,
            q_data_type=dtype,
            kv_data_type=dtype,
            disable_split_kv=True,
        )

    def _plan_info(self, chosen: list[int], work: WorkList) -> list[int]:
        """FlashInfer's `PrefillPlanInfo` (attention/scheduler.cuh) as a vector; offsets in bytes."""
        padded_lanes, row_count, _, query_tile = chosen[:4]
        assert len(chosen) == _PLAN_LENGTH and padded_lanes >= row_count == work.lanes, "another version of FlashInfer"
        return [
            work.pieces,
            work.lanes,
            _INT_BYTES * work.row_count.start,
            query_tile,
            _INT_BYTES * work.piece_lane.start,
            _INT_BYTES * work.query_tile.start,
            _INT_BYTES * work.piece_index.start,
            _INT_BYTES * work.piece_indptr.start,
            _INT_BYTES * work.piece_indptr.start,
            _INT_BYTES * work.piece_tokens.start,
            0,
            self._weighted_bytes,
            _INT_BYTES * work.piece_is_used.start,
            1,  # for graphs
            1,  # in pieces
        ]


def _aligned(nbytes: int) -> int:
    return math.ceil(nbytes / 256) * 256
