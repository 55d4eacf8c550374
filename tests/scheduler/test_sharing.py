"""Requests with a common beginning: computed once, shared from then on, kept until the room is needed."""

from __future__ import annotations

from collections import Counter

from engine.wire.to_worker import PrefillOrder
from tests.scheduler.rehearsal import Rehearsal, undisturbed

PREFILL = b"prefill-1"
TEXT = list(range(40))


def computed_tokens(stage: Rehearsal) -> Counter[int]:
    """Prompt tokens that have been ordered of each request and not yet computed."""
    ordered: Counter[int] = Counter()
    for order in stage.workers[PREFILL].orders:
        assert isinstance(order, PrefillOrder)
        for chunk in order.chunks:
            ordered[chunk.request_id] += len(chunk.token_ids)
    return ordered


def test_a_known_beginning_is_not_computed_again() -> None:
    stage = Rehearsal(prefill_token_budget=64)
    stage.submit(1, TEXT[:21], max_tokens=3)
    stage.finish()
    stage.submit(2, TEXT[:33], max_tokens=3)
    assert computed_tokens(stage) == {2: 33 - 20}
    stage.finish()
    assert stage.outputs[2] == undisturbed(stage.requests[2])


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    stage = Rehearsal(prefill_token_budget=64)
    for request_id in (1, 2):
        stage.submit(request_id, TEXT[:20], max_tokens=3)
        stage.finish()
    assert stage.outputs[1] == stage.outputs[2]


def test_an_answer_is_known_to_the_next_turn() -> None:
    stage = Rehearsal(prefill_token_budget=64)
    stage.submit(1, TEXT[:9], max_tokens=12)
    stage.finish()
    conversation = TEXT[:9] + stage.outputs[1]
    stage.submit(2, [*conversation, 7, 7], max_tokens=3)
    assert computed_tokens(stage) == {2: len(conversation) + 2 - 20}


def test_a_twin_waits_for_what_is_being_computed_and_others_pass_it() -> None:
    stage = Rehearsal(prefill_token_budget=64)
    for request_id, prompt in [(1, TEXT[:21]), (2, TEXT[:21]), (3, TEXT[30:])]:
        stage.submit(request_id, prompt, max_tokens=3)
    assert set(computed_tokens(stage)) == {1, 3}
    stage.work(PREFILL)
    assert computed_tokens(stage)[2] == 1
    stage.finish()
    assert stage.outputs[2] == undisturbed(stage.requests[2])


def test_keys_share_nothing() -> None:
    stage = Rehearsal(prefill_token_budget=64)
    stage.submit(1, TEXT[:21], max_tokens=3, key_id="x")
    stage.finish()
    stage.submit(2, TEXT[:21], max_tokens=3, key_id="y")
    assert computed_tokens(stage) == {2: 21}


def test_cached_pages_count_as_free_and_the_longest_unread_go_first() -> None:
    stage = Rehearsal(pages=12, prefill_token_budget=64)
    stage.submit(1, TEXT[:16], max_tokens=1)
    stage.finish()
    stage.submit(2, TEXT[20:36], max_tokens=1)
    stage.finish()
    assert stage.allocator.free_count == 12
    assert stage.allocator.cached_count == 8
    stage.submit(3, [9] * 30, max_tokens=1)
    stage.finish()
    assert stage.allocator.known_pages("", TEXT[:16]) == []
    assert len(stage.allocator.known_pages("", TEXT[20:36])) == 3


def test_pages_that_are_read_are_not_evicted() -> None:
    stage = Rehearsal(pages=12, prefill_token_budget=64, prefill_depth=1)
    stage.submit(1, TEXT[:16], max_tokens=20)
    stage.work(PREFILL)
    stage.submit(2, [9] * 28, max_tokens=4)
    stage.finish()
    assert stage.outputs[1] == undisturbed(stage.requests[1])
    assert stage.outputs[2] == undisturbed(stage.requests[2])


def test_forgetting_the_cache_frees_its_pages() -> None:
    stage = Rehearsal()
    stage.submit(1, TEXT[:16], max_tokens=1)
    stage.finish()
    assert stage.allocator.forget_cached() == 4
    assert stage.allocator.cached_count == 0
    assert stage.allocator.known_pages("", TEXT[:16]) == []
    assert stage.ledger.used_pages() == []


def test_the_urgent_go_first_and_keys_take_turns() -> None:
    stage = Rehearsal(max_running_requests=1, prefix_caching=False)
    stage.submit(1, prompt=4, max_tokens=2)
    for request_id in (2, 3, 4):
        stage.submit(request_id, prompt=4, max_tokens=2, key_id="greedy")
    stage.submit(5, prompt=4, max_tokens=2, key_id="modest")
    stage.submit(6, prompt=4, max_tokens=2, key_id="greedy", priority=-1)
    stage.finish()
    assert list(stage.finished) == [1, 6, 5, 2, 3, 4]
