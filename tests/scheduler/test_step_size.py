"""A prefill step fills the SMs to the last wave."""

from __future__ import annotations

import pytest

from engine.scheduler.step_size import TILE_ROWS, fullest_step, used_part

LLAMA_8B = ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336))


@pytest.mark.parametrize(("sms", "tokens"), [(64, 3072), (80, 2560), (88, 2816), (96, 3072), (112, 1792)])
def test_an_8b_model_on_a_part_of_an_h200_leaves_nothing_unused(sms: int, tokens: int) -> None:
    assert fullest_step(3072, sms, LLAMA_8B) == tokens
    assert used_part(tokens, sms, LLAMA_8B) == 1.0


@pytest.mark.parametrize("sms", range(8, 133, 4))
@pytest.mark.parametrize("most", [256, 1024, 3072, 8192])
def test_a_step_is_never_larger_than_allowed_nor_much_smaller(sms: int, most: int) -> None:
    tokens = fullest_step(most, sms, LLAMA_8B)
    assert most // 2 < tokens <= most
    assert tokens % TILE_ROWS == 0
    assert used_part(tokens, sms, LLAMA_8B) >= used_part(most, sms, LLAMA_8B) - 0.01


@pytest.mark.parametrize("most", [1, 64, 127])
def test_less_than_a_tile_is_left_as_it_is(most: int) -> None:
    assert fullest_step(most, 96, LLAMA_8B) == most


def test_without_sms_or_products_nothing_is_known() -> None:
    assert fullest_step(3000, 0, LLAMA_8B) == 3000
    assert fullest_step(3000, 96, ()) == 3000


def test_half_empty_waves_are_counted_by_their_columns() -> None:
    assert used_part(128, 2, ((256, 100),)) == 0.5
    assert used_part(128, 2, ((256, 100), (512, 100))) == 0.75
    assert used_part(128, 2, ((256, 100), (512, 300))) == 0.875
