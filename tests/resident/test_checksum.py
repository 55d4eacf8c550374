"""What is written where nobody may write shows, wherever it is."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.resident.checksum import checksum


@given(st.binary(max_size=100), st.data())
def test_a_changed_byte_shows(content: bytes, data: st.DataObject) -> None:
    region = torch.tensor(list(content), dtype=torch.uint8)
    before = checksum(region)
    assert checksum(region.clone()) == before
    if content:
        at = data.draw(st.integers(0, len(content) - 1))
        region[at] ^= data.draw(st.integers(1, 255))
        assert checksum(region) != before


def test_words_are_added_up_whatever_their_sum_is() -> None:
    assert checksum(torch.full((24,), 255, dtype=torch.uint8)) == (3 * (2**64 - 1)) % 2**64
