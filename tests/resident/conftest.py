"""A tiny random checkpoint, a runtime directory, and residents that are gone when the test is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.config import PortArgs, ServerArgs
from engine.model.config import ModelConfig
from engine.model.layout import layout_of

SHAPE = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "eos_token_id": 2,
}

StartResident = Callable[[PortArgs], subprocess.Popen[str]]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face directory with random float32 weights."""
    path = tmp_path_factory.mktemp("tiny-llama")
    (path / "config.json").write_text(json.dumps(SHAPE))
    generator = torch.Generator().manual_seed(1)
    tensors = {
        part.name: torch.randn((part.rows, *weight.shape[1:]), generator=generator)
        for weight in layout_of(ModelConfig.load(path)).values()
        for part in weight.parts
    }
    save_file(tensors, path / "model.safetensors")
    return path


@pytest.fixture
def shape_only(checkpoint: Path, tmp_path: Path) -> Path:
    """The same model without its weights."""
    path = tmp_path / "shape-only"
    path.mkdir()
    (path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    return path


@pytest.fixture
def make_ports(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PortArgs]:
    """A runtime directory whose settings are resolved for the CPU."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime_dir))

    def make(model_path: Path, **settings: Any) -> PortArgs:
        return PortArgs.init_new(ServerArgs(model_path=model_path, **settings).for_device("cpu"))

    return make


@pytest.fixture
def start_resident() -> Iterator[StartResident]:
    """Starts `python -m engine.resident`; its standard error is a text pipe."""
    started: list[subprocess.Popen[str]] = []

    def start(ports: PortArgs) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "engine.resident", str(ports.runtime_dir)]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
