"""Which weights there are, and where they lie."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from engine.model.config import ModelConfig
from engine.model.layout import ALIGNMENT, Part, Weight, layout_of, pack
from engine.resident.manifest import ITEM_BYTES
from tests.checkpoints import save_random_llama, save_random_model


@pytest.mark.parametrize(
    ("model_type", "shape"),
    [("llama", {"attention_bias": True}), ("mistral", {"head_dim": 10}), ("qwen2", {}), ("qwen3", {"head_dim": 10})],
)
def test_every_tensor_of_a_checkpoint_has_its_place(tmp_path: Path, model_type: str, shape: dict[str, Any]) -> None:
    path = save_random_model(tmp_path, model_type, **shape)
    layout = layout_of(ModelConfig.load(path))
    with safe_open(path / "model.safetensors", framework="np") as checkpoint:
        stored = {name: checkpoint.get_slice(name).get_shape() for name in checkpoint.keys()}  # noqa: SIM118
    placed = {part.name: [part.rows, *weight.shape[1:]] for weight in layout.values() for part in weight.parts}
    assert placed == stored


def test_q_k_v_and_gate_up_are_fused(small_llama: Path) -> None:
    layout = layout_of(ModelConfig.load(small_llama))
    attention, mlp = "model.layers.1.self_attn", "model.layers.1.mlp"
    assert layout["layers.1.qkv"] == Weight(
        (60 + 20 + 20, 48),
        (
            Part(f"{attention}.q_proj.weight", 60),
            Part(f"{attention}.k_proj.weight", 20),
            Part(f"{attention}.v_proj.weight", 20),
        ),
    )
    assert layout["layers.1.gate_up"] == Weight(
        (144, 48), (Part(f"{mlp}.gate_proj.weight", 72), Part(f"{mlp}.up_proj.weight", 72))
    )


def test_tied_embeddings_are_kept_once(tmp_path: Path) -> None:
    layout = layout_of(ModelConfig.load(save_random_llama(tmp_path, tie_word_embeddings=True)))
    assert "lm_head" not in layout
    assert "embed" in layout


@pytest.mark.parametrize("dtype", list(ITEM_BYTES))
def test_packed_weights_are_aligned_and_do_not_overlap(small_llama: Path, dtype: str) -> None:
    layout = layout_of(ModelConfig.load(small_llama))
    specs, nbytes = pack(layout, dtype)
    end = 0
    for name, spec in specs.items():
        assert spec.offset % ALIGNMENT == 0
        assert end <= spec.offset < end + ALIGNMENT
        assert spec.shape == layout[name].shape
        end = spec.offset + math.prod(spec.shape) * ITEM_BYTES[dtype]
    assert list(specs) == list(layout)
    assert end <= nbytes < end + ALIGNMENT
