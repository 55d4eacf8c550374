"""Requests with grammars on the real scheduler: preempted, rotated, bereft of a worker: the same text in the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import jsonschema
import pytest

from engine.grammar.grammars import Grammars
from engine.model.segment import Drawn, Segment
from engine.request import Request, SamplingParams
from engine.worker.decoder import Decoder
from engine.worker.prefiller import Prefiller
from tests.grammar.byte_grammars import END, allowed_ids, grammar, grammars
from tests.scheduler import rehearsal
from tests.scheduler.rehearsal import CONTROLLER, GATEWAY, HashModel, Rehearsal

SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 3, "maxLength": 5},
            "sizes": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "maxItems": 3},
            "kind": {"enum": ["alpha", "beta", None]},
        },
        "required": ["name", "sizes", "kind"],
    },
    {"type": "array", "items": {"type": ["boolean", "null"]}, "minItems": 4, "maxItems": 6},
]


def chosen(token_ids: list[int], allowed: list[int]) -> int:
    """The hash that stands for a model, over what is allowed."""
    return allowed[hashlib.blake2b(repr(token_ids).encode(), digest_size=2).digest()[0] % len(allowed)]


class BoundModel(HashModel):
    """Draws within the grammar of the segment's history."""

    def _compute(self, segment: Segment) -> Drawn | None:
        free = super()._compute(segment)
        if free is None or segment.history is None or segment.history.matcher is None:
            return free
        end = segment.start + len(segment.token_ids)
        read = [self._slots[self._slot(segment, position)] for position in range(end)]
        return Drawn(chosen([token for token in read if token is not None], allowed_ids(segment.history.matcher)))


@pytest.fixture
def new_stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rehearsal]:
    """Each worker has a store of grammars of its own, as processes do."""

    def own(make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: make(*arguments, grammars())

    monkeypatch.setattr(rehearsal.Rehearsal, "model_type", BoundModel)
    monkeypatch.setattr(rehearsal, "Prefiller", own(Prefiller))
    monkeypatch.setattr(rehearsal, "Decoder", own(Decoder))
    return partial(Rehearsal, page_size=4)


def undisturbed(request: Request) -> list[int]:
    """What a request with a grammar must give, whatever happens to it on the way."""
    packed = request.sampling.grammar
    assert packed is not None
    store: Grammars = grammars()
    output: list[int] = []
    while True:
        output.append(chosen(request.prompt_ids + output, allowed_ids(store.matcher(packed, output))))
        if request.sampling.finish_reason(output[-1], len(output) - 1):
            return output


def ask(stage: Rehearsal, count: int) -> None:
    """Requests with one grammar, with another and with none in turn."""
    for number in range(1, count + 1):
        own = {"grammar": grammar(SCHEMAS[number % 3])} if number % 3 < 2 else {}
        stage.submit(number, 5 + number % 4, 120 if own else 40, stop_token_ids=(END,), **own)


def check(stage: Rehearsal) -> None:
    stage.finish()
    for number, request in stage.requests.items():
        if request.sampling.grammar is None:
            assert stage.outputs[number] == rehearsal.undisturbed(request)
            continue
        assert stage.outputs[number] == undisturbed(request)
        text = bytes(stage.outputs[number][:-1])
        jsonschema.validate(json.loads(text), SCHEMAS[number % 3])
    stage.check_pages()


@pytest.mark.parametrize("colocated", [False, True])
def test_preempted(new_stage: Callable[..., Rehearsal], colocated: bool) -> None:
    stage = new_stage(pages=40, colocated=colocated, prefill_token_budget=7)
    ask(stage, 7)
    check(stage)
    assert stage.scheduler.preemptions


def test_rotated_again_and_again(new_stage: Callable[..., Rehearsal]) -> None:
    stage = new_stage(pages=200)
    stage.scheduler.watch(CONTROLLER)
    ask(stage, 6)
    for epoch in range(2, 5):
        stage.start_group(epoch)
        stage.scheduler.activate(CONTROLLER, epoch)
        stage.settle()
        while not stage.idle_epochs:
            for peer in list(stage.workers):
                stage.work(peer)
        for idle in stage.idle_epochs:
            stage.retire(idle)
        assert len(stage.finished) < len(stage.requests), "everything was over before the last rotation"
    assert {worker.ready.epoch for worker in stage.workers.values()} == {4}
    check(stage)


def test_the_group_is_lost_in_mid_answer(new_stage: Callable[..., Rehearsal]) -> None:
    stage = new_stage(pages=200)
    ask(stage, 6)
    while min(map(len, stage.outputs.values())) < 6:
        for peer in list(stage.workers):
            stage.work(peer)
    lost = list(stage.workers)
    stage.start_group(2)
    for peer in lost:
        stage.lose(peer)
    stage.scheduler.activate(CONTROLLER, 2)
    stage.settle()
    check(stage)


def test_handed_in_again_with_what_the_client_has(new_stage: Callable[..., Rehearsal]) -> None:
    stage = new_stage(pages=60)
    params = SamplingParams(max_tokens=120, stop_token_ids=(END,), grammar=grammar(SCHEMAS[0]))
    request = Request(1, [4, 4, 2], params)
    whole = undisturbed(request)
    stage.requests[1] = request
    stage.scheduler.submit(GATEWAY, Request(1, [4, 4, 2], params, emitted_ids=whole[:9]))
    stage.settle()
    stage.outputs[1] = whole[:9]
    stage.finish()
    assert stage.outputs[1] == whole
