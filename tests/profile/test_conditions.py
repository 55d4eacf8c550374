"""The load under which a profile is measured."""

from __future__ import annotations

import pytest

from engine.config import ServerArgs
from engine.model.config import ModelConfig
from engine.profile.conditions import MANY_LANES, SPAN_TOKENS, Conditions, kv_spec

ALL_OF_IT = 140 * 2**30


@pytest.mark.parametrize(("device", "free_bytes"), [("cpu", None), ("cuda", None), ("cuda", ALL_OF_IT)])
def test_no_page_belongs_to_two_sequences_and_all_fit_the_residents_pool(device, free_bytes) -> None:
    settings = ServerArgs().for_device(device)
    conditions, page_size = Conditions.of(settings, 10, free_bytes), settings.page_size
    lanes, prompt = conditions.lane_tables(page_size), conditions.prefill_table(page_size)
    pages = [*prompt, *(page for table in lanes for page in table)]
    assert len(lanes) == conditions.most_lanes
    assert all(len(table) * page_size >= conditions.context_tokens + SPAN_TOKENS for table in lanes)
    assert len(prompt) * page_size >= conditions.chunk_tokens
    assert sorted(pages) == list(range(1, conditions.num_pages(page_size)))
    again = Conditions.of(settings, 10, free_bytes)
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


def test_many_lanes_are_measured_where_their_kv_fits_and_clearly_more_than_few_do() -> None:
    settings = ServerArgs().for_device("cuda")
    most = settings.max_running_requests
    assert Conditions.of(settings, 10, ALL_OF_IT).many_lanes == min(MANY_LANES, most or 0) > 2 * 64
    lane_bytes = 48 * kv_spec(settings, 1).nbytes  # 704 tokens and the 64 that are written, in pages of 16
    assert Conditions.of(settings, 10, 4 * 150 * lane_bytes).many_lanes == 150
    assert Conditions.of(settings, 10, 4 * 127 * lane_bytes).many_lanes == 0
    assert Conditions.of(settings, 10, None).many_lanes == 0, "what is not known may not be there"
    assert Conditions.of(ServerArgs().for_device("cpu"), 10, ALL_OF_IT).many_lanes == 0
