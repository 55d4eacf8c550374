"""Runs one model step over any mix of segments: prefill chunks and decode lanes are the same thing here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Literal

import numpy as np
import torch

from engine.kernels.factory import kernels_for
from engine.kernels.kernels import Kernels
from engine.kernels.upload import upload
from engine.model.config import ModelConfig
from engine.model.launched_step import Fed, LaunchedStep
from engine.model.sampler import Sampler
from engine.model.segment import Drawn, Segment
from engine.model.transformer import Transformer
from engine.resident.manifest import KVSpec


class ModelRunner:
    """A model, its kernels and the KV cache, ready to compute."""

    def __init__(
        self,
        model: Transformer,
        kernels: Kernels,
        kv_layers: Sequence[torch.Tensor],
        sampler: Sampler,
        torch_device: torch.device,
    ):
        self.model = model
        self.kernels = kernels
        self.kv_layers = kv_layers
        self.sampler = sampler
        self._torch_device = torch_device

    def step(self, segments: Sequence[Segment]) -> list[Drawn | None]:
        """What was drawn for each segment that has `sampling`, None for the others.

        Waits for the device once, at the end: when it returns, K and V of all segments are written.
        """
        return self.launch(segments).tokens()

    @torch.inference_mode()
    def launch(self, segments: Sequence[Segment], fed: Fed | None = None) -> LaunchedStep:
        """The same, on torch's current stream, without waiting; `fed`: tokens that take the place of the segments'."""
        assert segments, "a step needs at least one segment"
        lengths = [len(segment.token_ids) for segment in segments]
        plan = self.kernels.plan(
            [segment.start for segment in segments], lengths, [segment.pages for segment in segments]
        )
        token_ids, last_rows = self._packed(segments, lengths, fed)
        logits = self.model.forward(token_ids, plan, self.kv_layers, last_rows)
        return LaunchedStep([segment.sampling for segment in segments], self._draw(logits, segments), logits)

    def _packed(
        self, segments: Sequence[Segment], lengths: Sequence[int], fed: Fed | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids [T] and the rows to draw from [B], int64, with one copy to the device."""
        ends = list(accumulate(lengths))
        last_rows = [end - 1 for end, segment in zip(ends, segments, strict=True) if segment.sampling]
        fed_rows = [ends[segment] - 1 for segment in fed.drawn_by] if fed else []
        draws = [fed.before.draw_of[segment] for segment in fed.drawn_by.values()] if fed else []
        parts = [np.concatenate([segment.token_ids for segment in segments]), last_rows, fed_rows, draws]
        together = upload(np.concatenate(parts).astype(np.int64), self._torch_device)
        token_ids, on_device, to, source = together.split([len(part) for part in parts])
        if fed and draws:
            token_ids[to] = fed.before.token_ids[source]
        return token_ids, on_device

    def _draw(self, logits: torch.Tensor, segments: Sequence[Segment]) -> torch.Tensor:
        drawing = [segment for segment in segments if segment.sampling]
        if not drawing:
            return torch.empty(0, dtype=torch.int64, device=self._torch_device)
        params = [segment.sampling for segment in drawing if segment.sampling]
        output_indices = [segment.output_index for segment in drawing]
        return self.sampler.sample(logits, params, output_indices, [segment.history for segment in drawing])


def build_runner(
    config: ModelConfig,
    weights: Mapping[str, torch.Tensor],
    kv_region: torch.Tensor,
    kv: KVSpec,
    device_kind: Literal["cpu", "cuda"],
    torch_device: torch.device,
    sm_count: int | None = None,
    is_deterministic: bool = False,
) -> ModelRunner:
    """A runner over mapped memory: `weights` as `weights_of` gives them, `kv_region` uint8, at least `kv.nbytes`.

    `sm_count` says on how many SMs it is to run, None that it has the whole device; `is_deterministic` is as for
    `kernels_for`.

    Raises `CannotStart` where the device's kernels cannot serve the model.
    """
    kernels = kernels_for(device_kind, kv, config.num_heads, torch_device, sm_count, is_deterministic)
    max_positions = min(config.max_position_embeddings, kv.num_pages * kv.page_size)
    model = Transformer(config, weights, kernels, max_positions)
    return ModelRunner(model, kernels, kv_layers_of(kv_region, kv), Sampler(), torch_device)


def kv_layers_of(kv_region: torch.Tensor, kv: KVSpec) -> Sequence[torch.Tensor]:
    """One view a layer, of `kv.layer_shape`."""
    return kv_region[: kv.nbytes].view(getattr(torch, kv.dtype)).view(kv.num_layers, *kv.layer_shape).unbind(0)
