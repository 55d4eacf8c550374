"""Matrix products against their reference: right ones pass, and every way of being wrong is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.allocation import Phase
from engine.config import DEMO_MODEL, ServerArgs
from engine.kernels.cpu import CpuKernels
from engine.model.checkpoint import fill_dummy, weights_of
from engine.model.config import ModelConfig
from engine.model.layout import layout_of, pack
from engine.profile.conditions import Conditions
from engine.profile.products import Product, powers_of_two, products_of
from engine.profile.self_test import expected, problem_of, reference_size

SETTINGS = ServerArgs(max_running_requests=4).for_device("cpu")
CONFIG = ModelConfig.load(DEMO_MODEL)


class Broken(CpuKernels):
    """Does to every result what `harm` does."""

    def __init__(self, harm: Callable[[torch.Tensor], object]):
        super().__init__(page_size=16)
        self._harm = harm

    def linear(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        result = super().linear(x, weight, bias, out)
        self._harm(result)
        return result


def weights(dtype: str, config: ModelConfig = CONFIG) -> dict[str, torch.Tensor]:
    layout = layout_of(config)
    specs, nbytes = pack(layout, dtype)
    region = torch.zeros(nbytes, dtype=torch.uint8)
    fill_dummy(region, layout, 0, dtype)
    return weights_of(region, specs, dtype)


def problem(kernels: CpuKernels, phase: Phase = Phase.DECODE, dtype: str = "bfloat16") -> str:
    made = weights(dtype)
    products = products_of(phase, CONFIG, Conditions.of(SETTINGS, 10), SETTINGS)
    reference = torch.zeros(reference_size(products, made), dtype=torch.uint8)
    return problem_of(expected(products, made, reference, is_computed=False), made, kernels)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("phase", list(Phase))
def test_what_is_right_passes(phase: Phase, dtype: str) -> None:
    assert problem(CpuKernels(16), phase, dtype) == ""


def test_a_number_that_is_not_written_is_found() -> None:
    said = problem(Broken(lambda result: result[-1, -1].fill_(torch.nan)))
    assert "1 of " in said and "were not written" in said and said.startswith("qkv, 1 × ")


def test_a_single_wrong_number_is_found() -> None:
    said = problem(Broken(lambda result: result[0, 7].add_(1.0)), dtype="float32")
    assert "1 of " in said and "are wrong, by up to" in said


def test_a_part_of_a_sum_that_is_missing_is_found() -> None:
    assert "are wrong" in problem(Broken(lambda result: result[:, : len(result.T) // 2].mul_(0.75)), Phase.PREFILL)


def test_rounding_to_the_element_type_twice_is_no_mistake() -> None:
    def round_once_more(result: torch.Tensor) -> None:
        result.mul_(1.0 + torch.finfo(result.dtype).eps)

    assert problem(Broken(round_once_more)) == ""


def test_another_process_can_hand_the_reference_over() -> None:
    made = weights("float32")
    products = [Product("layers.0.qkv", None, 2), Product("layers.0.down", None, 1)]
    reference = torch.zeros(reference_size(products, made), dtype=torch.uint8)
    expected(products, made, reference, is_computed=False)
    assert problem_of(expected(products, made, reference, is_computed=True), made, CpuKernels(16)) == ""
    reference.zero_()
    assert problem_of(expected(products, made, reference, is_computed=True), made, CpuKernels(16))


def test_products_are_the_models_own(tmp_path: Path) -> None:
    fields = json.loads((DEMO_MODEL / "config.json").read_text())
    untied = {"architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": False}
    (tmp_path / "config.json").write_text(json.dumps(fields | untied))
    config = ModelConfig.load(tmp_path)
    conditions = Conditions.of(SETTINGS, 10)
    prefill = products_of(Phase.PREFILL, config, conditions, SETTINGS)
    assert Product("layers.0.qkv", "layers.0.qkv_bias", conditions.chunk_tokens) in prefill
    assert Product("layers.0.gate_up", None, SETTINGS.prefill_token_budget or 0) in prefill
    decode = products_of(Phase.DECODE, config, conditions, SETTINGS)
    assert [product.rows for product in decode if product.weight == "lm_head"] == [1, 2, 4]
    names = {product.weight for product in [*prefill, *decode]}
    assert names <= set(layout_of(config)) and len(names) == 5
    assert list(powers_of_two(6)) == [1, 2, 4, 6]
