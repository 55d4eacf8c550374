"""Filling the weights' memory: what arrives in it, and the sentence for a checkpoint that cannot be loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import CannotStart
from engine.model.checkpoint import INDEX, SINGLE, fill_dummy, load_checkpoint, weights_of
from engine.model.config import ModelConfig
from engine.model.layout import layout_of, pack
from tests.checkpoints import save_random_llama

Progress = list[tuple[int, int]]


def loaded(path: Path, dtype: str = "float32", progress: Progress | None = None) -> dict[str, torch.Tensor]:
    layout = layout_of(ModelConfig.load(path))
    specs, nbytes = pack(layout, dtype)
    region = torch.full((nbytes,), 0xFF, dtype=torch.uint8)  # NaN in every element type
    calls: Progress = [] if progress is None else progress
    load_checkpoint(path, region, layout, dtype, lambda done, total: calls.append((done, total)))
    return weights_of(region, specs, dtype)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_random_llama(tmp_path / "whole")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return save_random_llama(tmp_path / "sharded", max_shard_size="30KB")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_are_the_checkpoints_tensors_converted(checkpoint: Path, dtype: str) -> None:
    weights, stored = loaded(checkpoint, dtype), load_file(checkpoint / SINGLE)
    layer = "model.layers.0."
    q, k, v = (stored[f"{layer}self_attn.{name}_proj.weight"] for name in "qkv")
    element = getattr(torch, dtype)
    assert torch.equal(weights["layers.0.qkv"], torch.cat((q, k, v)).to(element))
    assert torch.equal(weights["layers.0.down"], stored[f"{layer}mlp.down_proj.weight"].to(element))
    assert torch.equal(weights["lm_head"], stored["lm_head.weight"].to(element))
    assert all(weight.isfinite().all() for weight in weights.values())


def test_shards_give_the_same_weights_as_one_file(checkpoint: Path, sharded: Path) -> None:
    assert len(list(sharded.glob("*.safetensors"))) > 1
    whole, parts = loaded(checkpoint), loaded(sharded)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_progress_ends_with_all_bytes(checkpoint: Path) -> None:
    progress: Progress = []
    weights = loaded(checkpoint, progress=progress)
    total = sum(weight.nbytes for weight in weights.values())
    done = [step for step, _ in progress]
    assert len(progress) == len(weights)
    assert done == sorted(done)
    assert progress[-1] == (total, total)


def test_views_share_the_region(checkpoint: Path) -> None:
    layout = layout_of(ModelConfig.load(checkpoint))
    specs, nbytes = pack(layout, "bfloat16")
    region = torch.zeros(nbytes, dtype=torch.uint8)
    weights_of(region, specs, "bfloat16")["norm"].fill_(1.0)
    offset = specs["norm"].offset
    assert region[offset : offset + 2].view(torch.bfloat16).item() == 1.0
    assert int(region.count_nonzero()) == 48 * 2  # 1.0 is 0x3F80: both bytes are set


def test_no_checkpoint(checkpoint: Path) -> None:
    (checkpoint / SINGLE).unlink()
    with pytest.raises(CannotStart, match=f"There is neither {SINGLE} nor {INDEX} in .* set load_format to dummy"):
        loaded(checkpoint)


def test_a_missing_shard(sharded: Path) -> None:
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(CannotStart, match=f"lacks its shard {re.escape(shard.name)}: download it again"):
        loaded(sharded)


def test_a_missing_tensor(checkpoint: Path) -> None:
    tensors = load_file(checkpoint / SINGLE)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, checkpoint / SINGLE)
    with pytest.raises(CannotStart, match=re.escape("has no tensor model.layers.1.mlp.up_proj.weight, which")):
        loaded(checkpoint)


def test_a_tensor_of_another_shape(checkpoint: Path) -> None:
    tensors = load_file(checkpoint / SINGLE)
    tensors["model.norm.weight"] = torch.ones(47)
    save_file(tensors, checkpoint / SINGLE)
    sentence = "model.norm.weight has the shape [47]: by its config.json it must be [48]"
    with pytest.raises(CannotStart, match=re.escape(sentence)):
        loaded(checkpoint)


def test_a_damaged_file(checkpoint: Path) -> None:
    whole = (checkpoint / SINGLE).read_bytes()
    (checkpoint / SINGLE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CannotStart, match=r"model\.safetensors is damaged .*: download it again"):
        loaded(checkpoint)


def test_a_damaged_index(sharded: Path) -> None:
    (sharded / INDEX).write_text(json.dumps({"metadata": {}}))
    with pytest.raises(CannotStart, match="has no readable weight_map"):
        loaded(sharded)


def test_dummy_weights_are_seeded_and_of_the_right_size(checkpoint: Path) -> None:
    layout = layout_of(ModelConfig.load(checkpoint))
    specs, nbytes = pack(layout, "bfloat16")

    def filled(seed: int) -> dict[str, torch.Tensor]:
        region = torch.full((nbytes,), 0xFF, dtype=torch.uint8)
        fill_dummy(region, layout, seed, "bfloat16")
        return weights_of(region, specs, "bfloat16")

    first, again, other = filled(1), filled(1), filled(2)
    assert all(torch.equal(first[name], again[name]) for name in layout)
    assert not torch.equal(first["layers.0.qkv"], other["layers.0.qkv"])
    assert not torch.equal(first["layers.0.qkv"], first["layers.1.qkv"])
    assert bool((first["layers.0.mlp_norm"] == 1).all())
    assert first["layers.0.down"].float().std().item() == pytest.approx(72**-0.5, rel=0.05)
    assert first["layers.0.down"].float().mean().item() == pytest.approx(0.0, abs=0.01)
