"""The scheduler's decisions, with the pages watched."""

from __future__ import annotations

import pytest

from engine.allocation import Phase
from engine.request import FinishReason
from engine.wire.to_controller import Activated, GroupLost, GroupReady
from tests.scheduler.rehearsal import CONTROLLER, Rehearsal, undisturbed

PREFILL, DECODE = b"prefill-1", b"decode-1"


@pytest.mark.parametrize("colocated", [False, True])
def test_requests_give_what_the_model_says_and_all_pages_come_back(colocated: bool) -> None:
    stage = Rehearsal(colocated=colocated)
    for request_id in range(1, 20):
        stage.submit(request_id, prompt=request_id * 2, max_tokens=1 + request_id % 9)
    stage.finish()
    assert stage.outputs == {request_id: undisturbed(request) for request_id, request in stage.requests.items()}
    assert set(stage.finished) == set(stage.requests)
    assert stage.allocator.free_count == stage.allocator.total_pages
    assert not stage.scheduler.live
    assert not stage.scheduler.live.by_key


def test_a_long_prompt_is_computed_in_chunks_within_the_budget() -> None:
    stage = Rehearsal(prefill_token_budget=16)
    stage.submit(1, prompt=50, max_tokens=2)
    orders = list(stage.workers[PREFILL].orders)
    assert [[len(chunk.token_ids) for chunk in order.chunks] for order in orders] == [[16], [16]]  # type: ignore[attr-defined]
    stage.finish()
    assert stage.outputs[1] == undisturbed(stage.requests[1])


def test_short_prompts_are_packed_into_one_step() -> None:
    stage = Rehearsal(prefill_token_budget=16, prefill_depth=1)
    stage.submit(1, prompt=16, max_tokens=1)
    for request_id in (2, 3, 4):
        stage.submit(request_id, prompt=5, max_tokens=1)
    stage.work(PREFILL)
    (order,) = stage.workers[PREFILL].orders
    assert [(chunk.request_id, len(chunk.token_ids)) for chunk in order.chunks] == [(2, 5), (3, 5), (4, 5)]  # type: ignore[attr-defined]


def test_decode_is_given_pages_ahead_so_that_it_never_skips_a_step() -> None:
    stage = Rehearsal()
    stage.submit(1, prompt=3, max_tokens=30)
    stage.work(PREFILL)
    for generated in range(2, 31):
        assert stage.work(DECODE)
        assert len(stage.outputs[1]) == generated


def test_a_stop_token_ends_a_request_but_not_before_min_tokens() -> None:
    stage = Rehearsal()
    first = undisturbed(stage.submit(1, prompt=4, max_tokens=12))
    stage.submit(2, prompt=4, max_tokens=12, stop_token_ids=(first[0],))
    stage.finish()
    assert stage.finished[1] is FinishReason.LENGTH
    assert stage.outputs[2] == undisturbed(stage.requests[2])


def test_when_pages_run_out_the_youngest_is_preempted_and_loses_nothing() -> None:
    stage = Rehearsal(pages=12, max_running_requests=8)
    for request_id in range(1, 6):
        stage.submit(request_id, prompt=4, max_tokens=40)
    stage.finish()
    assert stage.scheduler.preemptions > 0
    assert stage.timed == set(stage.requests)
    assert stage.outputs == {request_id: undisturbed(request) for request_id, request in stage.requests.items()}
    assert stage.allocator.free_count == stage.allocator.total_pages


def test_pages_that_a_victim_gives_back_at_once_are_granted_at_once() -> None:
    """The second's prompt is done in the very step in which the first runs out of pages: no worker has heard of it."""
    stage = Rehearsal(
        pages=8, page_size=2, colocated=True, prefix_caching=False, prefill_depth=1, prefill_token_budget=2
    )
    stage.submit(1, prompt=1, max_tokens=15)
    stage.work(b"prefill+decode-1")
    stage.submit(2, prompt=9, max_tokens=7)
    stage.finish()
    assert stage.scheduler.preemptions == 1
    assert stage.outputs == {request_id: undisturbed(request) for request_id, request in stage.requests.items()}


def test_pages_of_a_cancelled_request_come_back_only_after_the_worker_has_let_go() -> None:
    stage = Rehearsal()
    stage.submit(1, prompt=8, max_tokens=20)
    stage.work(PREFILL)
    stage.work(DECODE)
    stage.cancel(1)
    assert stage.allocator.free_count < stage.allocator.total_pages
    stage.work(DECODE)
    assert stage.allocator.free_count == stage.allocator.total_pages


def test_a_request_cancelled_while_its_prompt_is_computed_keeps_its_pages_until_the_report() -> None:
    stage = Rehearsal()
    stage.submit(1, prompt=30, max_tokens=20)
    stage.cancel(1)
    assert stage.allocator.free_count < stage.allocator.total_pages
    stage.finish()
    assert stage.allocator.free_count == stage.allocator.total_pages
    assert stage.outputs[1] == []


def test_a_gateway_that_is_gone_takes_its_requests_along() -> None:
    stage = Rehearsal()
    for request_id in range(1, 7):
        stage.submit(request_id, prompt=6, max_tokens=20)
    stage.work(PREFILL)
    stage.scheduler.gateway_gone(b"gateway")
    stage.finish()
    assert not stage.scheduler.live
    assert stage.allocator.free_count == stage.allocator.total_pages


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "code", "words"),
    [
        (100, 61, "context_length_exceeded", "at most 160"),
        (0, 5, "invalid_value", "at least one token"),
    ],
)
def test_what_cannot_fit_is_refused_at_admission(prompt: int, max_tokens: int, code: str, words: str) -> None:
    stage = Rehearsal()
    stage.submit(1, prompt, max_tokens)
    assert stage.refused[1].code == code
    assert words in stage.refused[1].message


def test_a_full_queue_refuses_with_a_time_to_retry() -> None:
    stage = Rehearsal(max_queued_requests=2, max_running_requests=1)
    for request_id in range(1, 6):
        stage.submit(request_id, prompt=4, max_tokens=4)
    assert set(stage.refused) == {4, 5}
    assert all(refusal.code == "overloaded" and refusal.retry_after_seconds for refusal in stage.refused.values())


def test_nothing_is_accepted_without_a_worker_for_each_phase() -> None:
    stage = Rehearsal()
    stage.scheduler.retire(1)
    stage.submit(1, prompt=4, max_tokens=4)
    assert stage.refused[1].code == "overloaded"


@pytest.mark.parametrize("lost", [PREFILL, DECODE])
def test_a_lost_worker_costs_a_new_computation_and_no_request(lost: bytes) -> None:
    stage = Rehearsal()
    for request_id in range(1, 9):
        stage.submit(request_id, prompt=9, max_tokens=12)
    for _ in range(4):
        stage.work(PREFILL)
        stage.work(DECODE)
    stage.start_group(epoch=2)
    stage.lose(lost)
    assert not stage.scheduler.groups.is_routed
    stage.scheduler.activate(CONTROLLER, 2)
    stage.work(b"prefill-2")
    stage.lose(DECODE if lost is PREFILL else PREFILL)
    stage.finish()
    assert stage.outputs == {request_id: undisturbed(request) for request_id, request in stage.requests.items()}
    assert stage.allocator.free_count == stage.allocator.total_pages


def test_the_controller_hears_of_groups_ready_and_lost() -> None:
    stage = Rehearsal()
    stage.scheduler.watch(CONTROLLER)
    stage.start_group(epoch=2)
    stage.lose(b"decode-2")
    assert Activated(1) in stage.told_controller
    assert GroupReady(2) in stage.told_controller
    (loss,) = [message for message in stage.told_controller if isinstance(message, GroupLost)]
    assert loss.epoch == 2
    assert "decode worker of slot a" in loss.problem
    assert stage.scheduler.groups.is_routed, "the loss of a group that does not serve changes nothing"


def test_a_group_that_is_not_ready_is_not_activated() -> None:
    stage = Rehearsal()
    stage.scheduler.activate(CONTROLLER, 5)
    stage.settle()
    (answer,) = [m for m in stage.told_controller if isinstance(m, Activated) and m.epoch == 5]
    assert answer.problem == "The group of epoch 5 is not ready."
    route = stage.scheduler.groups.route(Phase.DECODE)
    assert route is not None
    assert route.epoch == 1
