"""Filling the weights' memory: what arrives in it, and the sentence for a checkpoint that cannot be loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import CannotStart
from engine.model.checkpoint import INDEX, SINGLE, fill_dummy, load_checkpoint, weights_of
from engine.model.config import ModelConfig
from engine.model.layout import layout_of, pack
from engine.resident.manifest import ITEM_BYTES
from tests.checkpoints import save_random_llama, save_random_model

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


@pytest.mark.parametrize("dtype", ITEM_BYTES)
@pytest.mark.parametrize("stored_dtype", ITEM_BYTES)
def test_weights_are_the_checkpoints_tensors_converted(tmp_path: Path, stored_dtype: str, dtype: str) -> None:
    checkpoint = save_random_model(tmp_path, "qwen3", dtype=stored_dtype, attention_bias=True, head_dim=10)
    weights, stored = loaded(checkpoint, dtype), load_file(checkpoint / SINGLE)
    assert {str(tensor.dtype) for tensor in stored.values()} == {f"torch.{stored_dtype}"}
    layer = "model.layers.0."
    q, k, v = (stored[f"{layer}self_attn.{name}_proj.weight"] for name in "qkv")
    biases = torch.cat([stored[f"{layer}self_attn.{name}_proj.bias"] for name in "qkv"])
    element = getattr(torch, dtype)
    assert torch.equal(weights["layers.0.qkv"], torch.cat((q, k, v)).to(element))
    assert torch.equal(weights["layers.0.qkv_bias"], biases.to(element))
    assert torch.equal(weights["layers.0.attention_out_bias"], stored[f"{layer}self_attn.o_proj.bias"].to(element))
    assert torch.equal(weights["layers.0.q_norm"], stored[f"{layer}self_attn.q_norm.weight"].to(element))
    assert torch.equal(weights["layers.0.k_norm"], stored[f"{layer}self_attn.k_norm.weight"].to(element))
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


def test_only_a_pickle(checkpoint: Path) -> None:
    (checkpoint / SINGLE).rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(CannotStart, match=r"only pytorch_model\.bin, and pickles can run code, so"):
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


Header = dict[str, dict[str, Any]]


def _reach_beyond_the_end(header: Header) -> None:
    header["model.norm.weight"]["data_offsets"][1] += 4096


def _overlap(header: Header) -> None:
    header["model.norm.weight"]["data_offsets"] = header["model.layers.0.input_layernorm.weight"]["data_offsets"]


def _have_more_elements_than_bytes(header: Header) -> None:
    header["model.norm.weight"]["shape"] = [49]


@pytest.mark.parametrize("spoil", [_reach_beyond_the_end, _overlap, _have_more_elements_than_bytes])
def test_a_header_whose_tensors_do_not_fit_the_file(checkpoint: Path, spoil: Callable[[Header], None]) -> None:
    content = (checkpoint / SINGLE).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    spoil(header)
    spoiled = json.dumps(header).encode()
    (checkpoint / SINGLE).write_bytes(len(spoiled).to_bytes(8, "little") + spoiled + content[start:])
    with pytest.raises(CannotStart, match=re.escape(f"{checkpoint / SINGLE} is damaged (")):
        loaded(checkpoint)


@pytest.mark.parametrize("length", [0, 7, 2**62])
def test_a_header_of_an_impossible_length(checkpoint: Path, length: int) -> None:
    content = (checkpoint / SINGLE).read_bytes()
    (checkpoint / SINGLE).write_bytes(length.to_bytes(8, "little") + content[8:])
    with pytest.raises(CannotStart, match=re.escape(f"{checkpoint / SINGLE} is damaged (")):
        loaded(checkpoint)


def test_a_tensor_of_whole_numbers(checkpoint: Path) -> None:
    tensors = load_file(checkpoint / SINGLE)
    tensors["model.norm.weight"] = torch.ones(48, dtype=torch.int8)
    save_file(tensors, checkpoint / SINGLE)
    sentence = "model.norm.weight has elements of torch.int8: only torch.float32, torch.bfloat16, torch.float16 are"
    with pytest.raises(CannotStart, match=re.escape(sentence)):
        loaded(checkpoint)


@pytest.mark.parametrize(
    "index", [{"metadata": {}}, {"weight_map": ["a"]}, {"weight_map": {"model.norm.weight": 1}}, []]
)
def test_a_damaged_index(sharded: Path, index: Any) -> None:
    (sharded / INDEX).write_text(json.dumps(index))
    with pytest.raises(CannotStart, match="has no readable weight_map"):
        loaded(sharded)


def test_an_index_that_names_a_shard_without_the_tensor(sharded: Path) -> None:
    index = json.loads((sharded / INDEX).read_bytes())
    files = sorted(set(index["weight_map"].values()))
    index["weight_map"]["model.embed_tokens.weight"] = files[-1]
    (sharded / INDEX).write_text(json.dumps(index))
    with pytest.raises(CannotStart, match=re.escape(f"{files[-1]} is damaged (")):
        loaded(sharded)


def test_an_index_that_leads_outside_its_directory(sharded: Path, checkpoint: Path) -> None:
    outside = f"../{checkpoint.name}/{SINGLE}"
    assert (sharded / outside).is_file()
    (sharded / INDEX).write_text(json.dumps({"weight_map": {"model.embed_tokens.weight": outside}}))
    with pytest.raises(CannotStart, match=re.escape(f"{INDEX} names a file outside its directory, {outside}")):
        loaded(sharded)


def test_dummy_weights_are_seeded_and_of_the_right_size(tmp_path: Path) -> None:
    checkpoint = save_random_model(tmp_path, "qwen2")
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
    assert bool((first["layers.0.qkv_bias"] == 0).all())
    assert first["layers.0.down"].float().std().item() == pytest.approx(72**-0.5, rel=0.05)
    assert first["layers.0.down"].float().mean().item() == pytest.approx(0.0, abs=0.01)
