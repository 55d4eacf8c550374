"""Choices of algorithms are kept, found again for what they hold for, and only for that."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.kernel_cache import PRODUCTS
from engine.kernels.product_choices import Choice, On, PartChoices, ProductChoices

HERE = On("NVIDIA H200", 130100, "bfloat16")


def choice(
    rows: int, sm_count: int = 52, outputs: int = 4096, columns: int = 4096, configuration: bytes = b"a"
) -> Choice:
    return Choice(sm_count, rows, outputs, columns, configuration * 64, 10.0, 12.0)


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    ProductChoices((choice(16), choice(32))).keep(tmp_path / "new", HERE)
    assert ProductChoices.load(tmp_path / "new", HERE).choices == (choice(16), choice(32))


@pytest.mark.parametrize(
    "other",
    [On("NVIDIA L4", 130100, "bfloat16"), On("NVIDIA H200", 130200, "bfloat16"), On("NVIDIA H200", 130100, "float16")],
)
def test_another_gpu_library_or_element_type_has_none_of_them(tmp_path: Path, other: On) -> None:
    ProductChoices((choice(16),)).keep(tmp_path, HERE)
    assert ProductChoices.load(tmp_path, other).choices == ()


def test_what_is_kept_later_joins_and_replaces(tmp_path: Path) -> None:
    ProductChoices((choice(16), choice(32))).keep(tmp_path, HERE)
    ProductChoices((choice(32, configuration=b"b"), choice(32, outputs=6144))).keep(tmp_path, HERE)
    kept = ProductChoices.load(tmp_path, HERE).choices
    assert set(kept) == {choice(16), choice(32, configuration=b"b"), choice(32, outputs=6144)}


def test_choices_of_another_machine_are_replaced(tmp_path: Path) -> None:
    ProductChoices((choice(16),)).keep(tmp_path, On("NVIDIA L4", 130100, "bfloat16"))
    ProductChoices((choice(32),)).keep(tmp_path, HERE)
    assert ProductChoices.load(tmp_path, HERE).choices == (choice(32),)


@pytest.mark.parametrize("content", [b"", b"{", msgspec.json.encode({"on": 1, "choices": []})])
def test_a_file_that_cannot_be_read_is_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / PRODUCTS).write_bytes(content)
    assert ProductChoices.load(tmp_path, HERE).choices == ()
    assert ProductChoices.load(tmp_path / "absent", HERE).choices == ()


@pytest.mark.parametrize(("rows", "found"), [(16, 16), (17, 32), (32, 32), (33, None), (8, 16), (7, None), (1, None)])
def test_rows_take_the_next_larger_that_is_near(rows: int, found: int | None) -> None:
    taken = PartChoices([choice(32), choice(16)]).find(rows, 4096, 4096)
    assert (taken and taken.rows) == found


def test_another_shape_has_none() -> None:
    part = PartChoices([choice(16)])
    assert part.find(16, 6144, 4096) is None
    assert part.find(16, 4096, 14336) is None


@pytest.mark.parametrize(("sm_count", "taken"), [(52, 52), (44, 44), (46, 44), (132, 52), (8, 44)])
def test_a_part_takes_those_of_the_nearest_number_of_sms(sm_count: int, taken: int) -> None:
    both = ProductChoices((choice(16, sm_count=52), choice(16, sm_count=44)))
    found = both.of_part(sm_count).find(16, 4096, 4096)
    assert found is not None
    assert found.sm_count == taken


def test_without_choices_a_part_has_none() -> None:
    assert ProductChoices().of_part(52).find(16, 4096, 4096) is None
