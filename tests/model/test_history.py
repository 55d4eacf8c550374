"""Which tokens penalties know of: counted as they come, and right wherever a request is computed."""

from __future__ import annotations

from collections import Counter

import pytest

from engine.model.history import History
from engine.model.segment import Drawn, Segment
from engine.request import Request, SamplingParams
from tests.scheduler import rehearsal
from tests.scheduler.rehearsal import CONTROLLER, GATEWAY, HashModel, Rehearsal, undisturbed


def counts(history: History) -> dict[int, int]:
    return dict(zip(history.token_ids.tolist(), history.drawn.tolist(), strict=True))


@pytest.mark.parametrize(
    ("token_ids", "output_count", "expected"),
    [
        ([5, 3, 5], 0, {5: 0, 3: 0}),
        ([5, 3, 5], 1, {5: 1, 3: 0}),
        ([5, 3, 5, 5, 9], 3, {5: 2, 3: 0, 9: 1}),
        ([7, 7], 2, {7: 2}),
    ],
)
def test_output_is_counted_and_the_prompt_is_known(
    token_ids: list[int], output_count: int, expected: dict[int, int]
) -> None:
    assert counts(History(token_ids, output_count)) == expected


def test_tokens_that_come_one_by_one_are_counted_like_those_that_came_before() -> None:
    prompt, output = [1, 2, 1], [2, 8, 8, 1, 2, 9]
    history = History(prompt, 0)
    for token_id in output:
        history.append(token_id)
    assert counts(history) == counts(History(prompt + output, len(output))) == {1: 1, 2: 2, 8: 2, 9: 1}


@pytest.mark.parametrize(
    ("sampling", "wanted"),
    [
        (None, False),
        (SamplingParams(max_tokens=1, min_p=0.5, logit_bias={1: 2.0}, logprobs=3), False),
        (SamplingParams(max_tokens=1, repetition_penalty=1.1), True),
        (SamplingParams(max_tokens=1, presence_penalty=-0.5), True),
        (SamplingParams(max_tokens=1, frequency_penalty=0.5), True),
    ],
)
def test_only_penalties_want_a_history(sampling: SamplingParams | None, wanted: bool) -> None:
    assert (History.wanted_by(sampling, [1, 2], 1) is not None) == wanted


class Witness(HashModel):
    """Compares the history of each draw with the tokens that it reads from the pages."""

    prefilled_output = 0
    decoded = 0

    def _compute(self, segment: Segment) -> Drawn | None:
        drawn = super()._compute(segment)
        needs_history = segment.sampling is not None and segment.sampling.needs_history
        assert (segment.history is not None) == needs_history
        if segment.history is not None:
            self._compare(segment, segment.history)
        return drawn

    def _compare(self, segment: Segment, history: History) -> None:
        end = segment.start + len(segment.token_ids)
        read = [self._slots[self._slot(segment, position)] for position in range(end)]
        output = Counter(read[end - segment.output_index :])
        assert counts(history) == {token_id: output[token_id] for token_id in read}
        if len(segment.token_ids) > 1:
            Witness.prefilled_output = max(Witness.prefilled_output, segment.output_index)
        else:
            Witness.decoded += 1


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Witness]:
    monkeypatch.setattr(rehearsal.Rehearsal, "model_type", Witness)
    monkeypatch.setattr(Witness, "prefilled_output", 0)
    monkeypatch.setattr(Witness, "decoded", 0)
    return Witness


@pytest.mark.parametrize("colocated", [False, True])
def test_histories_are_right_under_preemption(watched: type[Witness], colocated: bool) -> None:
    stage = Rehearsal(pages=14, page_size=4, colocated=colocated, prefill_token_budget=7)
    for number in range(1, 7):
        stage.submit(number, [number % 2] * 6 + [number], 24, presence_penalty=0.5 * (number % 3))
    stage.finish()
    assert stage.scheduler.preemptions
    assert watched.prefilled_output
    assert watched.decoded
    assert stage.outputs == {number: undisturbed(request) for number, request in stage.requests.items()}


def test_histories_are_right_after_the_group_was_lost(watched: type[Witness]) -> None:
    stage = Rehearsal(pages=40, page_size=4)
    for number in (1, 2):
        stage.submit(number, 9, 30, repetition_penalty=1.2)
    while min(map(len, stage.outputs.values())) < 5:
        for peer in list(stage.workers):
            stage.work(peer)
    lost, decoded = list(stage.workers), watched.decoded
    stage.start_group(2)
    for peer in lost:
        stage.lose(peer)
    stage.scheduler.activate(CONTROLLER, 2)
    stage.settle()
    stage.finish()
    assert watched.decoded > decoded
    assert stage.outputs == {number: undisturbed(request) for number, request in stage.requests.items()}


def test_histories_are_right_after_the_scheduler_was_lost(watched: type[Witness]) -> None:
    stage = Rehearsal(pages=40, page_size=4, prefix_caching=False)
    for number in (1, 2):
        stage.submit(number, 9, 30, repetition_penalty=1.2)
    while min(map(len, stage.outputs.values())) < 5:
        for peer in list(stage.workers):
            stage.work(peer)
    stage.lose_scheduler()
    stage.start_group(2)
    stage.scheduler.activate(CONTROLLER, 2)
    stage.settle()
    stage.finish()
    assert watched.prefilled_output >= 5
    assert stage.outputs == {number: undisturbed(request) for number, request in stage.requests.items()}


def test_what_the_client_already_has_counts_as_output(watched: type[Witness]) -> None:
    stage = Rehearsal()
    params = SamplingParams(max_tokens=9, frequency_penalty=0.5)
    whole = undisturbed(Request(1, [4, 4, 2], params))
    stage.scheduler.submit(GATEWAY, Request(1, [4, 4, 2], params, emitted_ids=whole[:3]))
    stage.settle()
    stage.outputs[1] = whole[:3]
    stage.finish()
    assert watched.prefilled_output == 3
    assert stage.outputs[1] == whole
