"""A made-up model directory serves, its floors are right by hand, and its steps can be timed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.floors import head_parameters, layer_parameters, work_of
from bench.results import MicroLine, Results, Step
from bench.shapes import BOS, SHAPES, make_tokenizer, write_shape
from engine.config import ServerArgs
from engine.gateway.served_model import ServedModel
from engine.gateway.tokenizer import TextTokenizer
from engine.model.config import ModelConfig


@pytest.fixture(scope="module")
def llama_8b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shapes") / "llama-8b"
    write_shape(path, SHAPES["llama-8b"])
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shapes") / "tiny"
    write_shape(path, SHAPES["tiny"])
    return path


def test_the_shape_is_that_of_llama_8b(llama_8b: Path) -> None:
    config = ModelConfig.load(llama_8b)

    assert layer_parameters(config) + 2 * head_parameters(config) == pytest.approx(8.03e9, rel=0.001)
    assert (config.vocab_size, config.eos_token_ids, config.bos_token_id) == (128256, (128255,), 128254)


def test_its_tokenizer_fills_the_vocabulary(llama_8b: Path) -> None:
    tokenizer = TextTokenizer.load(llama_8b)

    assert len(tokenizer.pieces) == 128256
    assert len(set(tokenizer.pieces)) == 128256 - 1  # begin and end have no text
    assert all(tokenizer.pieces[:-2])
    ids = tokenizer.encode("naïve 🙂", add_special_tokens=True)
    assert b"".join(tokenizer.pieces[token_id] for token_id in ids) == "naïve 🙂".encode()


def test_special_tokens_stand_at_the_end() -> None:
    assert make_tokenizer(1024).token_to_id(BOS) == 1022


def test_the_gateway_takes_it(tiny: Path) -> None:
    model = ServedModel.load(ServerArgs(model_path=tiny, load_format="dummy"))

    assert (model.name, model.config.vocab_size) == ("tiny", 1024)


def test_floors_of_a_tiny_model_by_hand(tiny: Path) -> None:
    config = ModelConfig.load(tiny)
    layer = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128
    layers = 2 * layer
    head = 1024 * 64
    kv_token_bytes = 2 * 2 * 32 * 4

    decode = work_of(Step("decode", 3, 10), config, item_bytes=4)
    prefill = work_of(Step("prefill", 1, 10), config, item_bytes=4)

    assert decode.nbytes == (layers + head) * 4 + 30 * kv_token_bytes
    assert decode.operations == 2 * 3 * (layers + head) + 2 * (4 * 30 * 64)
    assert prefill.nbytes == (layers + head) * 4 + 10 * kv_token_bytes
    first, last = 10 * layer, 9 * (2 * 64 * 32) + layer
    assert prefill.operations == 2 * (first + last + head) + 4 * (10 * 11 / 2) * 64 + 4 * 10 * 64


@pytest.mark.system
def test_steps_are_timed_through_the_products_own_runner(tiny: Path, tmp_path: Path) -> None:
    results = tmp_path / "speed.jsonl"
    words = ["micro", "--model", str(tiny), "--device", "cpu", "--batch", "2", "--context", "40", "--context", "8000"]
    words += ["--chunk", "64", "--repeats", "1", "--results", str(results)]
    said = CliRunner().invoke(app, words)

    assert said.exit_code == 0, said.output
    lines = Results(results).of_kind(MicroLine)
    assert [line.step for line in lines] == [Step("decode", 2, 40), Step("prefill", 1, 64)]
    assert all(line.milliseconds > 0 and line.bytes_floor_ms > 0 and line.operations_floor_ms > 0 for line in lines)
    assert "Left out: decode 2 × 8000" in said.output
