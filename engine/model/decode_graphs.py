"""Decode steps as CUDA graphs: a step is one replay over rows that stay on the GPU, and one small copy each way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

from engine.kernels.cuda import CudaKernels
from engine.kernels.decode_attention import LanesPlan
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

    Beyond 256, where each row is computed and not only read for, multiples of 64; from 512 of 128.
    """
    steps = (*_BUCKETS, *range(320, min(lanes, 512), 64), *range(512, lanes, 128))
    return (*(bucket for bucket in steps if bucket < lanes), lanes)


class _Bucket(NamedTuple):
    """A step over so many rows: how its pieces are written, and the plan whose arrays its graphs read."""

    work: WorkList
    plan: LanesPlan


class _Staging:
    """Page-locked memory of one step, and the events between which it is computed: after the second it may be read, or
    written again."""

    def __init__(self, pieces: torch.Tensor, rows: int):
        self.pieces = torch.zeros(pieces.shape, dtype=pieces.dtype, pin_memory=True)
        self.tokens = torch.zeros(rows, dtype=torch.int32, pin_memory=True)
        self.begun, self.done = (torch.cuda.Event(enable_timing=True) for _ in range(2))
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

    @property
    def device_seconds(self) -> float:
        return self.staging.begun.elapsed_time(self.staging.done) / 1000


class GraphDecodeRunner:
    """Holds a token and a page table for each row on the GPU, and for each number of rows a graph in each part.

    A part of the chip is a stream, and a graph keeps that on which it was captured. A step runs on torch's current
    stream, which must be one that was prepared, if only by being current at construction; and since all graphs write
    the same buffers, a step on one stream must be made to follow those on others.
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
        self._kv_layers = kv_layers
        self._sampler = sampler
        self._device = kv_layers[0].device
        self._slots = LaneSlots(buckets, table_pages)
        self._rows = torch.zeros(self._slots.size, dtype=torch.int32, device=self._device)
        self._token_ids = self._rows[:rows]
        self.logits = model.empty_logits(rows)
        """Of the step launched last, [rows, vocab]."""
        self._buckets = self._planned(kernels, self._rows[rows:].view(rows, table_pages))
        self._staging = [_Staging(self._buckets[rows].plan.pieces, rows) for _ in range(_STEPS_IN_FLIGHT)]
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: dict[int, dict[int, torch.cuda.CUDAGraph]] = {}
        """By stream and number of rows."""
        for _ in self.captures(model):
            pass

    def _planned(self, kernels: CudaKernels, tables: torch.Tensor) -> dict[int, _Bucket]:
        """All on the same arrays, of which a smaller bucket uses the beginning."""
        attention, kv = kernels.decode_attention, kernels.kv
        longest = tables.shape[1] * kv.page_size
        works = [WorkList(rows, kv.num_kv_heads, longest, kernels.is_deterministic) for rows in self._slots.buckets]
        pieces = attention.empty_pieces(works[-1].pieces, tables.device)
        results = attention.results(works[-1].pieces, works[-1].lanes, tables.device)
        return {work.lanes: _Bucket(work, LanesPlan(pieces[: work.pieces], tables, results)) for work in works}

    def captures(self, model: Transformer) -> Iterator[None]:
        """Prepare torch's current stream, a graph at a time: the largest first, so that the others find room in what it
        needed.

        `model` has the kernels that suit the stream's part of the chip. Between two graphs steps may be launched on
        streams that are prepared; none may be in flight, and the stream be current again, when it is gone on with.
        """
        stream = torch.cuda.current_stream(self._device).cuda_stream
        if stream in self._graphs:
            return
        with self._on_page_0(min(self._buckets)):  # its kernels are others than those of many rows, and slow to load
            self._compute(model, min(self._buckets))
        yield
        captured = {}
        for bucket in sorted(self._buckets, reverse=True):
            captured[bucket] = self._capture(model, bucket)
            yield
        self._graphs[stream] = captured

    @torch.inference_mode()
    def _capture(self, model: Transformer, bucket: int) -> torch.cuda.CUDAGraph:
        """Used before and after: kernels that were never used cannot be loaded during a capture, and what a graph needs
        of the driver it is given at its first launch, which is not to be a request's."""
        graph = torch.cuda.CUDAGraph()
        with self._on_page_0(bucket):
            self._compute(model, bucket)
            torch.cuda.current_stream(self._device).synchronize()
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            self._compute(model, bucket)
            graph.capture_end()
            graph.replay()
        return graph

    @contextmanager
    def _on_page_0(self, bucket: int) -> Iterator[None]:
        """Steps of nobody; what the rows hold is put aside, since theirs may be other requests' pages by now."""
        with torch.inference_mode():
            held = self._rows.clone()
            self._rows.zero_()
            self._write_pieces(self._staging[0], self._buckets[bucket], np.zeros(bucket, dtype=np.int32))
            yield
            self._rows.copy_(held)
        torch.cuda.current_stream(self._device).synchronize()

    def _compute(self, model: Transformer, rows: int) -> None:
        """What a graph is: the tokens drawn take the place of those they follow."""
        tokens, logits, plan = self._token_ids[:rows], self.logits[:rows], self._buckets[rows].plan
        hidden = model.hidden(tokens, plan, self._kv_layers)
        model.write_logits(hidden, logits)
        tokens.copy_(logits.argmax(dim=-1))

    @torch.inference_mode()
    def launch(self, lanes: Sequence[Lane]) -> GraphStep:
        placement = self._slots.place(lanes)
        graph = self._graphs[torch.cuda.current_stream(self._device).cuda_stream][placement.bucket]
        self._write_rows(placement)
        positions = np.zeros(placement.bucket, dtype=np.int32)
        positions[placement.slots] = [lane.position for lane in lanes]
        staging = self._next_staging()
        self._write_pieces(staging, self._buckets[placement.bucket], positions)
        staging.begun.record()
        graph.replay()
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

    def _write_pieces(self, staging: _Staging, bucket: _Bucket, positions: np.ndarray) -> None:
        pieces = staging.pieces[: bucket.work.pieces]
        bucket.work.fill(pieces.numpy(), positions)
        bucket.plan.pieces.copy_(pieces, non_blocking=True)

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
