"""What is compiled ahead is what a worker uses, over one layer of the model. Without a GPU nothing is compiled."""

from __future__ import annotations

import torch

from engine.config import DEMO_MODEL
from engine.kernels.build import layer_of, runner_of, use_all
from engine.model.config import ModelConfig


def test_one_layer_has_the_models_widths() -> None:
    config, layer = ModelConfig.load(DEMO_MODEL), layer_of(ModelConfig.load(DEMO_MODEL))
    assert layer.num_layers == 1
    for field in ("hidden_size", "intermediate_size", "num_heads", "num_kv_heads", "head_dim", "traits"):
        assert getattr(layer, field) == getattr(config, field)


def test_a_workers_way_is_gone() -> None:
    use_all(runner_of(layer_of(ModelConfig.load(DEMO_MODEL)), "float32", torch.device("cpu")))
