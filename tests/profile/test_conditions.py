"""The load under which a profile is measured."""

from __future__ import annotations

import pytest

from engine.config import ServerArgs
from engine.model.config import ModelConfig
from engine.profile.conditions import SPAN_TOKENS, Conditions


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_no_page_belongs_to_two_sequences_and_all_fit_the_residents_pool(device) -> None:
    settings = ServerArgs().for_device(device)
    conditions, page_size = Conditions.of(settings, 10), settings.page_size
    lanes, prompt = conditions.lane_tables(page_size), conditions.prefill_table(page_size)
    pages = [*prompt, *(page for table in lanes for page in table)]
    assert len(lanes) == conditions.decode_lanes
    assert all(len(table) * page_size >= conditions.context_tokens + SPAN_TOKENS for table in lanes)
    assert len(prompt) * page_size >= conditions.chunk_tokens
    assert sorted(pages) == list(range(1, conditions.num_pages(page_size)))
    again = Conditions.of(settings, 10)
    assert again.lane_tables(page_size) == lanes, "both processes count on it"


def test_it_keeps_to_the_models_and_the_users_limits() -> None:
    settings = ServerArgs(prefill_token_budget=40, max_running_requests=2).for_device("cuda")
    conditions = Conditions.of(settings, 10)
    longest = ModelConfig.load(settings.model_path).max_position_embeddings
    assert (conditions.chunk_tokens, conditions.decode_lanes) == (40, 2)
    assert conditions.longest <= longest


def test_the_resident_makes_its_weights_up_and_holds_no_more_than_is_used() -> None:
    settings = ServerArgs().for_device("cpu")
    conditions = Conditions.of(settings, 10)
    for_resident = conditions.resident_settings(settings)
    assert (for_resident.load_format, for_resident.max_model_len) == ("dummy", conditions.longest)
    assert for_resident.kv_memory_bytes and for_resident.kv_memory_bytes % conditions.num_pages(16) == 0
