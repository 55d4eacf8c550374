"""With chunks of a fixed length, K and V of a token are computed in a step of the same shape whatever else happens.

The model here is a hash that reads, beside each token, the shape of the step that wrote it: how many tokens it had and
which of them this was, or that it was a decode step. That stands for the bits of a real model, and the whole output
depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from engine.model.segment import Drawn, Segment
from engine.request import Request
from engine.wire.to_worker import PrefillChunk, PrefillOrder
from tests.scheduler import test_any_order
from tests.scheduler.rehearsal import CONTROLLER, GATEWAY, HashModel, Rehearsal, next_token

CHUNK = 8
PREFILL, DECODE = b"prefill-1", b"decode-1"
TEXT = list(range(40))
Written = tuple[int, str]


def shape(rows: int, row: int) -> str:
    return f"row {row} of {rows}"


class ShapeModel(HashModel):
    """K and V of a token is the token and the shape of the step."""

    def __init__(self, num_pages: int, page_size: int):
        super().__init__(num_pages, page_size)
        self._written: dict[int, Written] = {}

    def step(self, segments: Iterable[Segment]) -> list[Drawn | None]:
        segments = list(segments)
        is_decode = all(len(segment.token_ids) == 1 and segment.output_index for segment in segments)
        rows, first = sum(len(segment.token_ids) for segment in segments), 0
        drawn: list[Drawn | None] = []
        for segment in segments:
            for offset, token_id in enumerate(segment.token_ids):
                how = "decode" if is_decode else shape(rows, first + offset)
                self._written[self._slot(segment, segment.start + offset)] = (token_id, how)
            first += len(segment.token_ids)
        for segment in segments:
            end = segment.start + len(segment.token_ids)
            read = [self._written[self._slot(segment, position)] for position in range(end)]
            drawn.append(Drawn(next_hash(read)) if segment.sampling else None)
        return drawn


def next_hash(read: list[Written]) -> int:
    return next_token(read)  # type: ignore[arg-type]  # anything that has a repr will do


def alone(request: Request) -> list[int]:
    """What the request gives with nobody else there."""
    prompt, output = request.prompt_ids, list[int]()
    rows = [min(CHUNK, len(prompt) - at // CHUNK * CHUNK) for at in range(len(prompt))]
    read = [(token, shape(rows[at], at % CHUNK)) for at, token in enumerate(prompt)]
    while True:
        output.append(next_hash(read))
        if request.sampling.finish_reason(output[-1], len(output) - 1):
            return output
        read.append((output[-1], "decode"))


class FixedChunks(Rehearsal):
    """With `ShapeModel`. The budget is larger than a chunk, so that there would be room for neighbours."""

    model_type = ShapeModel

    def __init__(self, *arguments: Any, **limits: Any):
        super().__init__(*arguments, **(limits | {"chunk_tokens": CHUNK, "prefill_token_budget": 4 * CHUNK}))


class AnyOrderInFixedChunks(test_any_order.AnyOrder):
    """Cancelled, preempted, lost, moved, with and without shared beginnings: always what it gives alone."""

    stage_type = FixedChunks
    expected = staticmethod(alone)

    @precondition(lambda self: any(self.stage.outputs.values()))
    @rule(data=st.data(), more=st.integers(1, 9), max_tokens=st.integers(1, 9))
    def next_turn(self, data: st.DataObject, more: int, max_tokens: int) -> None:
        """A prompt that begins with what another request was asked and has answered so far."""
        before = data.draw(st.sampled_from([each for each, output in self.stage.outputs.items() if output]))
        request = self.stage.requests[before]
        prompt = [*request.prompt_ids, *self.stage.outputs[before], *[0] * more]
        if len(prompt) + max_tokens <= self.stage.allocator.total_pages * self.stage.page_size:
            self.stage.submit(len(self.stage.requests) + 1, prompt, max_tokens, key_id=request.key_id)


TestAnyOrderInFixedChunks = AnyOrderInFixedChunks.TestCase
TestAnyOrderInFixedChunks.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def orders(stage: Rehearsal) -> list[list[PrefillChunk]]:
    """The prefill worker's orders, chunk by chunk."""
    return [list(order.chunks) for order in stage.workers[PREFILL].orders if isinstance(order, PrefillOrder)]


def test_a_step_is_one_chunk_of_one_prompt() -> None:
    stage = FixedChunks(prefill_depth=10)
    stage.submit(1, TEXT[:20], max_tokens=2)
    stage.submit(2, TEXT[20:25], max_tokens=2)
    cut = [[(chunk.request_id, chunk.start, len(chunk.token_ids)) for chunk in order] for order in orders(stage)]
    assert cut == [[(1, 0, 8)], [(1, 8, 8)], [(1, 16, 4)], [(2, 0, 5)]]


def test_what_is_known_counts_in_whole_chunks() -> None:
    """20 tokens are two whole chunks and 4 more; 28 of the next prompt's 29 are known pages elsewhere."""
    stage = FixedChunks()
    stage.submit(1, TEXT[:20], max_tokens=2)
    stage.finish()
    stage.submit(2, TEXT[:20] + TEXT[:9], max_tokens=5)
    (first, *_) = orders(stage)
    assert (first[0].start, len(first[0].token_ids)) == (16, 8)
    stage.finish()
    assert stage.outputs[2] == alone(stage.requests[2])


def test_an_answer_is_not_known_to_the_next_turn() -> None:
    """Decode wrote it; the next prompt's prefill would write other bits."""
    stage = FixedChunks()
    stage.submit(1, TEXT[:6], max_tokens=20)
    stage.finish()
    stage.submit(2, TEXT[:6] + stage.outputs[1] + [3], max_tokens=5)
    assert orders(stage)[0][0].start == 0
    stage.finish()
    assert stage.outputs[2] == alone(stage.requests[2])


def decoding() -> FixedChunks:
    """A request of 11 tokens that has answered 7."""
    stage = FixedChunks(prefix_caching=False)
    stage.scheduler.watch(CONTROLLER)
    stage.submit(1, TEXT[:11], max_tokens=12)
    while len(stage.outputs[1]) < 7:
        stage.work(PREFILL)
        stage.work(DECODE)
    return stage


def take_over(stage: Rehearsal) -> list[list[int]]:
    """Another group serves; returns how long the chunks are of each order that prefill has for it."""
    stage.start_group(epoch=2)
    stage.scheduler.activate(CONTROLLER, 2)
    stage.settle()
    orders = [order for order in stage.workers[b"prefill-2"].orders if isinstance(order, PrefillOrder)]
    return [[len(chunk.token_ids) for chunk in order.chunks] for order in orders]


def test_a_lost_workers_lane_goes_on_with_the_bits_that_it_had() -> None:
    stage = decoding()
    stage.lose(DECODE)
    stage.lose(PREFILL)
    assert take_over(stage) == []
    stage.finish()
    assert stage.outputs[1] == alone(stage.requests[1])


def test_after_a_lost_scheduler_decode_draws_again_what_the_client_has() -> None:
    stage = decoding()
    stage.lose_scheduler()
    assert take_over(stage) == [[8], [3]], "not the output"
    stage.finish()
    assert stage.outputs[1] == alone(stage.requests[1])


def test_tokens_the_client_came_with_are_drawn_again_and_not_sent() -> None:
    first = FixedChunks()
    request = first.submit(1, TEXT[:11], max_tokens=12)
    first.finish()
    again = FixedChunks()
    emitted = first.outputs[1][:5]
    again.scheduler.submit(GATEWAY, Request(1, request.prompt_ids, request.sampling, emitted_ids=emitted))
    again.settle()
    again.outputs[1] = list(emitted)
    again.finish()
    assert again.outputs[1] == first.outputs[1] == alone(request)
