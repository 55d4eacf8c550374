"""Another group takes over while requests stream: nothing is lost, repeated, changed or computed twice."""

from __future__ import annotations

import pytest

from engine.wire.to_controller import GroupIdle
from engine.wire.to_worker import DecodeOrder
from tests.scheduler.rehearsal import CONTROLLER, Rehearsal, undisturbed

OLD_PREFILL, OLD_DECODE, NEW_PREFILL, NEW_DECODE = b"prefill-1", b"decode-1", b"prefill-2", b"decode-2"


@pytest.fixture
def stage() -> Rehearsal:
    """Two requests decode, one is half prefilled, one waits; the next group is ready."""
    stage = Rehearsal(prefix_caching=False, max_running_requests=3)
    stage.scheduler.watch(CONTROLLER)
    stage.submit(1, prompt=6, max_tokens=20)
    stage.submit(2, prompt=6, max_tokens=20)
    stage.work(OLD_PREFILL)
    stage.work(OLD_PREFILL)
    for _ in range(3):
        stage.work(OLD_DECODE)
    stage.submit(3, prompt=60, max_tokens=5)
    stage.submit(4, prompt=5, max_tokens=5)
    stage.start_group(epoch=2)
    return stage


def activate(stage: Rehearsal, epoch: int) -> None:
    stage.scheduler.activate(CONTROLLER, epoch)
    stage.settle()


def prompts_are_through(stage: Rehearsal) -> None:
    """The old group's prefill computes what it was ordered before."""
    while stage.work(OLD_PREFILL):
        pass


def test_lanes_move_at_the_step_boundary_with_their_tokens(stage: Rehearsal) -> None:
    activate(stage, 2)
    prompts_are_through(stage)
    assert not stage.workers[NEW_DECODE].orders, "nothing joins before it has left"
    stage.work(OLD_DECODE)
    (order,) = stage.workers[NEW_DECODE].orders
    assert isinstance(order, DecodeOrder)
    assert {join.request_id: join.output_index for join in order.joins} == {
        request_id: len(stage.outputs[request_id]) for request_id in (1, 2)
    }
    assert not stage.work(OLD_DECODE), "the old worker has nothing left to do"


def test_a_prompt_moves_at_its_chunks_end_and_no_chunk_is_computed_twice(stage: Rehearsal) -> None:
    activate(stage, 2)
    assert not stage.workers[NEW_PREFILL].orders, "the next chunk needs the one that is being written"
    preemptions = stage.scheduler.preemptions
    prompts_are_through(stage)
    stage.work(OLD_DECODE)
    stage.work(NEW_DECODE)
    (first, *_) = stage.workers[NEW_PREFILL].orders
    assert first.chunks[0].start == 32  # type: ignore[attr-defined]
    stage.finish()
    assert stage.outputs == {request_id: undisturbed(request) for request_id, request in stage.requests.items()}
    assert stage.scheduler.preemptions == preemptions


def test_lanes_stay_while_the_old_group_computes_prompts(stage: Rehearsal) -> None:
    """Two groups at once would slow each other's steps."""
    activate(stage, 2)
    before = len(stage.outputs[1])
    stage.work(OLD_DECODE)
    stage.work(OLD_PREFILL)
    stage.work(OLD_DECODE)
    assert len(stage.outputs[1]) == before + 2
    assert not stage.workers[NEW_DECODE].orders and not stage.workers[NEW_PREFILL].orders


def test_new_prompts_wait_until_the_lanes_have_made_a_step(stage: Rehearsal) -> None:
    activate(stage, 2)
    prompts_are_through(stage)
    stage.work(OLD_DECODE)
    assert stage.workers[NEW_DECODE].orders and not stage.workers[NEW_PREFILL].orders
    stage.work(NEW_DECODE)
    assert stage.workers[NEW_PREFILL].orders


@pytest.mark.parametrize("lost", [OLD_PREFILL, OLD_DECODE])
def test_nobody_waits_for_a_worker_that_is_gone(stage: Rehearsal, lost: bytes) -> None:
    activate(stage, 2)
    stage.lose(lost)
    stage.work(OLD_PREFILL if lost == OLD_DECODE else OLD_DECODE)
    assert stage.workers[NEW_DECODE].orders
    stage.finish()
    assert stage.outputs == {request_id: undisturbed(request) for request_id, request in stage.requests.items()}


def test_without_a_lane_prompts_go_on_at_once() -> None:
    stage = Rehearsal()
    stage.start_group(epoch=2)
    activate(stage, 2)
    stage.submit(1, prompt=6, max_tokens=20)
    assert stage.workers[NEW_PREFILL].orders


def test_the_controller_hears_when_the_old_group_has_nothing_left(stage: Rehearsal) -> None:
    activate(stage, 2)
    assert GroupIdle(1) not in stage.told_controller
    stage.finish()
    assert stage.told_controller.count(GroupIdle(1)) == 1
    stage.retire(1)
    assert set(stage.workers) == {NEW_PREFILL, NEW_DECODE}
    stage.submit(9, prompt=7, max_tokens=7)
    stage.finish()
    assert stage.outputs[9] == undisturbed(stage.requests[9])


def test_a_rotation_can_be_taken_back_half_way(stage: Rehearsal) -> None:
    activate(stage, 2)
    stage.work(OLD_DECODE)
    activate(stage, 1)
    stage.finish()
    assert stage.outputs == {request_id: undisturbed(request) for request_id, request in stage.requests.items()}
    assert stage.told_controller.count(GroupIdle(2)) == 1
    assert GroupIdle(1) not in stage.told_controller


@pytest.mark.parametrize("lost", [NEW_PREFILL, NEW_DECODE])
def test_a_new_group_that_dies_while_it_takes_over_costs_no_request(stage: Rehearsal, lost: bytes) -> None:
    activate(stage, 2)
    stage.work(OLD_DECODE)
    stage.work(NEW_DECODE)
    stage.lose(lost)
    activate(stage, 1)
    stage.finish()
    assert stage.outputs == {request_id: undisturbed(request) for request_id, request in stage.requests.items()}
