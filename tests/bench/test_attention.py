"""What the bench of decode attention lays out, where it can be seen without a GPU."""

from __future__ import annotations

from argparse import Namespace

from bench.attention import PAGE_SIZE, Load, spec_of, tables_of

OPTIONS = Namespace(layers=2, heads=8, kv_heads=2, head_dim=64, dtype="bfloat16")


def test_every_lane_has_pages_of_its_own_for_its_context_and_the_new_token() -> None:
    load = Load.of("3x32")
    tables, kv = tables_of(load), spec_of(load, OPTIONS)
    assert tables.shape == (3, 32 // PAGE_SIZE + 1)
    assert sorted(tables.ravel().tolist()) == list(range(1, kv.num_pages)), "all but page 0, each once"
