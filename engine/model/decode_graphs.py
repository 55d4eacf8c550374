"""Decode steps as CUDA graphs: a step is one replay over rows that stay on the GPU, and one small copy each way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from engine.kernels.cuda import CudaKernels, CudaPlan
from engine.kernels.static_plan import StaticPlans
from engine.kernels.upload import upload
from engine.kernels.work_list import WorkList
from engine.model.lane import Lane
from engine.model.lane_slots import LaneSlots, Placement
from engine.model.logprobs import with_logprobs
from engine.model.sampler import Sampler
from engine.model.segment import Drawn
from engine.model.transformer import Transformer
from engine.request import SamplingParams

_BUCKETS = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 160, 192, 224, 256)
_STEPS_IN_FLIGHT = 2


def buckets_up_to(lanes: int) -> tuple[int, ...]:
    """Numbers of rows for which there is a graph: `lanes` itself, and smaller ones in steps that waste little.

    Beyond 256, where a step is bound by its attention, multiples of 128.
    """
    steps = (*_BUCKETS, *range(384, lanes, 128))
    return (*(bucket for bucket in steps if bucket < lanes), lanes)


class _Bucket(NamedTuple):
    """A captured step over so many rows, and how its numbers are written. The graph reads the plan's arrays."""

    graph: torch.cuda.CUDAGraph
    work: WorkList
    plan: CudaPlan


class _Staging:
    """Page-locked memory of one step, and the event after which it may be read, or written again."""

    def __init__(self, numbers: int, rows: int):
        self.numbers = torch.zeros(numbers, dtype=torch.int32, pin_memory=True)
        self.tokens = torch.zeros(rows, dtype=torch.int32, pin_memory=True)
        self.done = torch.cuda.Event()
        self.in_flight = False


class GraphStep(NamedTuple):
    """A step on the GPU's stream. `logits` are those of the step launched last."""

    staging: _Staging
    slots: list[int]
    params: list[SamplingParams]
    logits: torch.Tensor

    @torch.inference_mode()
    def tokens(self) -> list[Drawn]:
        self.staging.done.synchronize()
        self.staging.in_flight = False
        token_ids = self.staging.tokens.numpy()[self.slots]
        asking = [at for at, choice in enumerate(self.params) if choice.logprobs is not None]
        drawn = [Drawn(token_id) for token_id in token_ids.tolist()]
        if asking:
            rows, chosen = upload(np.array([np.array(self.slots)[asking], token_ids[asking]]), self.logits.device)
            found = with_logprobs(chosen, self.logits[rows].float(), [self.params[at] for at in asking])
            for at, choice in zip(asking, found, strict=True):
                drawn[at] = choice
        return drawn


class GraphDecodeRunner:
    """Holds a token and a page table for each row on the GPU, and a graph for each number of rows.

    Everything runs on the stream that was torch's current one at construction, in whatever part of the chip that is:
    graphs keep it.
    """

    runs_ahead = True

    @torch.inference_mode()
    def __init__(
        self,
        model: Transformer,
        kernels: CudaKernels,
        kv_layers: Sequence[torch.Tensor],
        sampler: Sampler,
        buckets: Sequence[int],
    ):
        rows, table_pages = buckets[-1], -(-model.max_positions // kernels.kv.page_size)
        self._model = model
        self._kv_layers = kv_layers
        self._sampler = sampler
        self._device = kv_layers[0].device
        self._slots = LaneSlots(buckets, table_pages)
        self._rows = torch.zeros(self._slots.size, dtype=torch.int32, device=self._device)
        self._token_ids = self._rows[:rows]
        self.logits = model.empty_logits(rows)
        """Of the step launched last, [rows, vocab]."""
        self._plans = StaticPlans(kernels.kv, kernels.num_heads, self._rows[rows:].view(rows, table_pages))
        self._staging = [_Staging(len(self._plans.numbers), rows) for _ in range(_STEPS_IN_FLIGHT)]
        self._buckets = self._capture(buckets)

    def _capture(self, buckets: Sequence[int]) -> dict[int, _Bucket]:
        """All graphs, from one pool: the largest first, so that the others find room in what it needed."""
        pool = torch.cuda.graph_pool_handle()
        captured = {}
        for bucket in reversed(buckets):
            work = self._plans.work_list(bucket)
            plan = self._plans.plan(work)
            self._write_numbers(self._staging[0], work, np.zeros(bucket, dtype=np.int32))
            self._compute(plan, bucket)  # on page 0: kernels that were never used cannot be loaded during a capture
            torch.cuda.current_stream(self._device).synchronize()
            graph = torch.cuda.CUDAGraph()
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            self._compute(plan, bucket)
            graph.capture_end()
            captured[bucket] = _Bucket(graph, work, plan)
        return captured

    def _compute(self, plan: CudaPlan, rows: int) -> None:
        """What a graph is: the tokens drawn take the place of those they follow."""
        tokens, logits = self._token_ids[:rows], self.logits[:rows]
        hidden = self._model.hidden(tokens, plan.positions, plan, self._kv_layers)
        self._model.write_logits(hidden, logits)
        tokens.copy_(logits.argmax(dim=-1))

    @torch.inference_mode()
    def launch(self, lanes: Sequence[Lane]) -> GraphStep:
        placement = self._slots.place(lanes)
        self._write_rows(placement)
        bucket = self._buckets[placement.bucket]
        positions = np.zeros(placement.bucket, dtype=np.int32)
        positions[placement.slots] = [lane.position for lane in lanes]
        staging = self._next_staging()
        self._write_numbers(staging, bucket.work, positions)
        bucket.graph.replay()
        self._draw(lanes, placement.slots)
        staging.tokens.copy_(self._token_ids, non_blocking=True)
        staging.done.record()
        return GraphStep(staging, placement.slots, [lane.sampling for lane in lanes], self.logits)

    def _write_rows(self, placement: Placement) -> None:
        """Changes only: who has joined, who has pages more, who has moved."""
        if placement.moves:
            source, to = upload(np.array(placement.moves, dtype=np.int64).T.copy(), self._device)
            self._token_ids[to] = self._token_ids[source]
        if placement.cells.size:
            places, values = upload(placement.cells, self._device)
            self._rows[places] = values.int()

    def _write_numbers(self, staging: _Staging, work: WorkList, positions: np.ndarray) -> None:
        work.fill(staging.numbers.numpy(), positions)
        self._plans.numbers[: work.size].copy_(staging.numbers[: work.size], non_blocking=True)

    def _next_staging(self) -> _Staging:
        staging = self._staging.pop(0)
        self._staging.append(staging)
        assert not staging.in_flight, f"only {_STEPS_IN_FLIGHT} steps may be in flight"
        staging.in_flight = True
        return staging

    def _draw(self, lanes: Sequence[Lane], slots: Sequence[int]) -> None:
        """The graph has drawn the likeliest tokens; draw again where something else is wanted."""
        others = [(lane, slot) for lane, slot in zip(lanes, slots, strict=True) if not lane.is_plain]
        if not others:
            return
        rows = upload(np.array([slot for _, slot in others]), self._device)
        drawn = self._sampler.sample(
            self.logits[rows].float(),
            [lane.sampling for lane, _ in others],
            [lane.output_index for lane, _ in others],
            [lane.history for lane, _ in others],
        )
        self._token_ids[rows] = drawn.int()
