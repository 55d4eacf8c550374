"""What a lost worker or scheduler had committed is not computed again."""

from __future__ import annotations

from engine.wire.to_controller import GroupLost
from engine.wire.to_worker import DecodeOrder, PrefillOrder
from tests.scheduler.rehearsal import CONTROLLER, Rehearsal, undisturbed

PREFILL, DECODE = b"prefill-1", b"decode-1"


def orders_of(stage: Rehearsal, peer: bytes, kind: type) -> list:
    return [order for order in stage.workers[peer].orders if isinstance(order, kind)]


def take_over(stage: Rehearsal, epoch: int) -> None:
    stage.start_group(epoch)
    stage.scheduler.activate(CONTROLLER, epoch)
    stage.settle()


def test_lanes_of_a_lost_worker_go_on_in_another_with_their_pages() -> None:
    stage = Rehearsal(prefix_caching=False)
    request = stage.submit(1, prompt=9, max_tokens=12)
    while len(stage.outputs[1]) < 4:
        stage.work(PREFILL)
        stage.work(DECODE)
    pages, produced = list(stage.allocator.table(1)), len(stage.outputs[1])
    stage.lose(DECODE)
    stage.lose(PREFILL)
    assert stage.allocator.table(1) == pages
    take_over(stage, 2)
    assert not orders_of(stage, b"prefill-2", PrefillOrder), "nothing of it is prefilled"
    (order,) = orders_of(stage, b"decode-2", DecodeOrder)
    assert [(join.output_index, join.position) for join in order.joins] == [(produced, 9 + produced - 1)]
    assert {stage.ledger.epoch(page) for page in pages} == {2}
    stage.finish()
    assert stage.outputs[1] == undisturbed(request)


def test_of_a_prompt_only_the_chunks_not_reported_are_ordered_again() -> None:
    stage = Rehearsal(prefix_caching=False, prefill_token_budget=4, prefill_depth=2)
    request = stage.submit(1, prompt=14, max_tokens=3)
    stage.work(PREFILL)
    stage.lose(PREFILL)
    stage.lose(DECODE)
    take_over(stage, 2)
    starts = [chunk.start for order in orders_of(stage, b"prefill-2", PrefillOrder) for chunk in order.chunks]
    assert starts == [4, 8]
    stage.finish()
    assert stage.outputs[1] == undisturbed(request)
    assert stage.allocator.free_count == stage.allocator.total_pages


def test_another_scheduler_begins_with_the_full_pages_of_prompt_and_output() -> None:
    stage = Rehearsal()
    request = stage.submit(1, prompt=9, max_tokens=20)
    while len(stage.outputs[1]) < 8:
        stage.work(PREFILL)
        stage.work(DECODE)
    stage.lose_scheduler()
    take_over(stage, 2)
    (order,) = orders_of(stage, b"prefill-2", PrefillOrder)
    written = 9 + len(stage.outputs[1]) - 1  # the last token was not fed back
    assert [chunk.start for chunk in order.chunks] == [written // 4 * 4]
    stage.finish()
    assert stage.outputs[1] == undisturbed(request)
    assert stage.allocator.free_count == stage.allocator.total_pages


def test_another_key_begins_with_nothing_of_it() -> None:
    stage = Rehearsal()
    stage.submit(1, prompt=[5] * 12, max_tokens=1, key_id="one")
    stage.finish()
    stage.lose_scheduler()
    assert stage.allocator.known_pages("other", [5] * 12) == []
    assert len(stage.allocator.known_pages("one", [5] * 12)) == 2


def test_a_fenced_worker_serves_no_more_and_its_group_is_lost_at_once() -> None:
    stage = Rehearsal()
    stage.submit(1, prompt=5, max_tokens=8)
    worker = stage.scheduler.groups.workers[PREFILL]
    assert [each for each in stage.scheduler.groups.workers.values() if stage.scheduler.owes(each)] == [worker]
    stage.scheduler.watch(CONTROLLER)
    stage.scheduler.fence(worker, "did not move")
    assert not stage.scheduler.groups.is_routed
    assert stage.scheduler.groups.complete_epochs() == []
    stage.settle()
    lost = GroupLost(1, "The prefill worker of slot a (process 1) did not move.")
    assert stage.told_controller[-1] == lost
    stage.lose(PREFILL)
    assert stage.told_controller.count(lost) == 1


def test_a_fenced_worker_is_told_nothing_more_and_keeps_its_pages_until_it_has_ended() -> None:
    """Killing takes its time where the device is busy; another group takes over meanwhile."""
    stage = Rehearsal(prefix_caching=False)
    request = stage.submit(1, prompt=9, max_tokens=12)
    stage.submit(2, prompt=9, max_tokens=12)
    while len(stage.outputs[2]) < 4:
        stage.work(PREFILL)
        stage.work(DECODE)
    told = list(stage.workers[DECODE].orders)
    stage.scheduler.fence(stage.scheduler.groups.workers[DECODE], "did not move")
    take_over(stage, 2)
    stage.cancel(2)
    assert list(stage.workers[DECODE].orders) == told
    pages = stage.allocator.table(1) + stage.allocator.table(2)
    assert {stage.ledger.epoch(page) for page in pages} == {1}
    assert not orders_of(stage, b"decode-2", DecodeOrder)
    stage.lose(DECODE)
    assert not stage.allocator.table(2)
    stage.finish()
    assert stage.outputs[1] == undisturbed(request)
    assert stage.allocator.free_count == stage.allocator.total_pages
