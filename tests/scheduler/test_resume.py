"""Requests that are handed in again: nothing of what their clients have comes twice, and nothing is missing."""

from __future__ import annotations

import msgspec

from engine.request import Request, SamplingParams
from engine.scheduler.outbox import Channel
from engine.wire.to_gateway import Tokens
from tests.scheduler.rehearsal import GATEWAY, Rehearsal, undisturbed

PREFILL, DECODE = b"prefill-1", b"decode-1"


def test_a_request_of_a_former_scheduler_goes_on_after_what_its_client_has() -> None:
    stage = Rehearsal()
    request = Request(1, [3, 1, 4, 1, 5], SamplingParams(max_tokens=12))
    whole = undisturbed(request)
    stage.requests[1] = request
    stage.outputs[1] = whole[:5]
    stage.scheduler.resume(GATEWAY, msgspec.structs.replace(request, emitted_ids=whole[:5]))
    stage.settle()
    stage.finish()
    assert stage.outputs[1] == whole
    assert stage.allocator.free_count == stage.allocator.total_pages


def test_an_accepted_request_is_not_refused_though_nobody_can_compute_it_yet() -> None:
    stage = Rehearsal(max_queued_requests=1)
    stage.scheduler.groups.close(stage.scheduler.groups.workers[PREFILL])
    for request_id in range(1, 4):
        stage.scheduler.resume(GATEWAY, Request(request_id, [request_id] * 4, SamplingParams(max_tokens=3)))
    assert len(stage.scheduler.live) == 3


def test_tokens_that_were_lost_on_the_way_are_sent_again() -> None:
    stage = Rehearsal()
    request = stage.submit(1, prompt=5, max_tokens=8)
    for peer in (PREFILL, DECODE, DECODE):
        stage.work(peer)
    produced = list(stage.outputs[1])
    assert len(produced) == 3
    stage.scheduler.resume(GATEWAY, msgspec.structs.replace(request, emitted_ids=produced[:1]))
    again = [
        token
        for channel, _, message in stage.scheduler.outbox.take()
        if channel is Channel.GATEWAY and isinstance(message, Tokens)
        for token in message.tokens
    ]
    assert [(token.index, token.token_id) for token in again] == [(1, produced[1]), (2, produced[2])]
    stage.finish()
    assert stage.outputs[1] == undisturbed(request)
