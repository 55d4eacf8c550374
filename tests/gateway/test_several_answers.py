"""Several prompts and several answers in one request: their order, their seeds, and that they live and end together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import openai
import pytest

from engine.request import Request
from engine.wire.to_gateway import Refused
from engine.wire.to_scheduler import Submit
from tests.gateway.stand import KEY, MODEL, Stand, events, live_events, streamed_text
from tests.gateway.tiny_model import byte_tokens

ANSWERS = ["Hello", "naïve café", "🙂", ""]


@pytest.fixture
def client(stand: Stand) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stand.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def says_in_turn(stand: Stand, texts: Sequence[str]) -> None:
    """The first request that comes in is answered with the first text, and so on."""
    answers = iter([byte_tokens(stand.tokenizer, text) for text in texts])
    stand.scheduler.script = lambda request: next(answers)


def submitted(stand: Stand, count: int) -> list[Request]:
    return [stand.scheduler.expect(Submit).request for _ in range(count)]


def of_choice(chunks: list[Any], index: int) -> list[Any]:
    """The chunks of one choice."""
    return [chunk for chunk in chunks if chunk != "[DONE]" and chunk["choices"][0]["index"] == index]


def test_n_answers(client: openai.OpenAI, stand: Stand) -> None:
    says_in_turn(stand, ANSWERS)
    body = client.completions.create(model=MODEL, prompt="Hi", n=4, best_of=4, max_tokens=40)
    assert [(choice.index, choice.text) for choice in body.choices] == list(enumerate(ANSWERS))
    requests = submitted(stand, 4)
    assert body.usage is not None
    assert body.usage.prompt_tokens == len(requests[0].prompt_ids), "the prompt counts once"
    assert body.usage.completion_tokens == sum(len(text.encode()) + 1 for text in ANSWERS)
    says_in_turn(stand, ANSWERS)
    chat = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}], n=4)
    assert [(choice.index, choice.message.content) for choice in chat.choices] == list(enumerate(ANSWERS))


@pytest.mark.parametrize("path", ["completions", "chat"])
def test_a_stream_of_n_answers(stand: Stand, path: str) -> None:
    says_in_turn(stand, ANSWERS)
    ask = stand.complete if path == "completions" else stand.chat
    chunks = events(ask(stream=True, n=4, max_tokens=40, stream_options={"include_usage": True}))
    assert chunks.pop() == "[DONE]"
    usage = chunks.pop()
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == sum(len(text.encode()) + 1 for text in ANSWERS)
    assert len({chunk["id"] for chunk in chunks}) == 1
    for index, text in enumerate(ANSWERS):
        own = of_choice(chunks, index)
        assert streamed_text(own) == text
        assert [chunk["choices"][0]["finish_reason"] for chunk in own] == [None] * (len(own) - 1) + ["stop"]
        if path == "chat":
            assert ["role" in chunk["choices"][0]["delta"] for chunk in own] == [True] + [False] * (len(own) - 1)


def test_chunks_of_all_answers_alternate(stand: Stand) -> None:
    says_in_turn(stand, ["aa", "bb"])
    stand.scheduler.is_held = True
    body = {"model": MODEL, "prompt": "Hi", "stream": True, "n": 2}
    with stand.client.stream("POST", "/v1/completions", json=body) as response:
        chunks = live_events(response)
        for _ in range(2):
            stand.scheduler.step()
            both = [next(chunks)["choices"][0] for _ in range(2)]
            assert sorted((choice["index"], choice["text"]) for choice in both) == [(0, "a"), (1, "b")]
        stand.scheduler.step()
        assert list(chunks)[-1] == "[DONE]"


@pytest.mark.parametrize("prompts", [["Hello", "the quick brown fox"], [[5, 6, 7], [8]]])
def test_a_list_of_prompts(client: openai.OpenAI, stand: Stand, prompts: Any) -> None:
    says_in_turn(stand, ANSWERS)
    body = client.completions.create(model=MODEL, prompt=prompts, n=2, max_tokens=40)
    assert [(choice.index, choice.text) for choice in body.choices] == list(enumerate(ANSWERS))
    requests = submitted(stand, 4)
    expected = [stand.tokenizer.encode(prompt).ids if isinstance(prompt, str) else prompt for prompt in prompts]
    assert [request.prompt_ids for request in requests] == [expected[0], expected[0], expected[1], expected[1]]
    assert body.usage is not None and body.usage.prompt_tokens == sum(map(len, expected))


def test_a_list_of_one_is_the_prompt(stand: Stand) -> None:
    stand.complete(prompt=["Hello"])
    stand.complete(prompt="Hello")
    stand.complete(prompt=[[5, 6]])
    hello = stand.tokenizer.encode("Hello").ids
    assert [request.prompt_ids for request in submitted(stand, 3)] == [hello, hello, [5, 6]]


def test_the_seed_and_the_index_determine_each_draw(stand: Stand) -> None:
    for seed in (42, 42, 43):
        stand.complete(n=3, seed=seed)
    first, again, other = (
        [request.sampling.seed for request in submitted(stand, 3)],
        [request.sampling.seed for request in submitted(stand, 3)],
        [request.sampling.seed for request in submitted(stand, 3)],
    )
    assert first == again and first[0] == 42 and len({*first, *other}) == 6
    stand.complete(n=3)
    stand.complete(n=3)
    assert len({request.sampling.seed for request in submitted(stand, 6)}) == 6


@pytest.mark.parametrize("is_streamed", [False, True])
def test_one_refusal_refuses_all_and_cancels_the_others(stand: Stand, is_streamed: bool) -> None:
    stand.scheduler.is_held = True
    seen: list[int] = []

    def refuse_the_second(request: Request) -> Refused | None:
        seen.append(request.request_id)
        return Refused(request.request_id, "overloaded", "The queue is full.", 3) if len(seen) == 2 else None

    stand.scheduler.refusal = refuse_the_second
    response = stand.complete(n=3, stream=is_streamed)
    assert (response.status_code, response.headers["retry-after"]) == (503, "3")
    assert response.json()["error"]["message"] == "The queue is full."
    first, _, third = submitted(stand, 3)
    for request in (first, third):
        stand.scheduler.expect_cancel(request.request_id)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_client_that_leaves_leaves_all_answers(client: openai.OpenAI, stand: Stand, steps: int) -> None:
    says_in_turn(stand, ["a", "bbb", "ccc"])
    stand.scheduler.is_held = True
    stream = client.completions.create(model=MODEL, prompt="Hi", n=3, stream=True, max_tokens=9)
    requests = submitted(stand, 3)
    for _ in range(steps):
        stand.scheduler.step()
    stream.close()
    for request in requests:
        stand.scheduler.expect_cancel(request.request_id)


def test_a_failure_of_the_engine_ends_all_answers(stand: Stand) -> None:
    stand.scheduler.is_held = True
    body = {"model": MODEL, "prompt": "Hi", "stream": True, "n": 2}
    with stand.client.stream("POST", "/v1/completions", json=body) as response:
        submitted(stand, 2)
        stand.scheduler.step()
        stand.scheduler.fail()
        rest = list(live_events(response))
    assert rest[-1]["error"]["code"] == "engine_failure" and "[DONE]" not in rest


def test_a_stop_string_ends_one_answer_and_the_others_go_on(stand: Stand) -> None:
    says_in_turn(stand, ["aXb", "abc"])
    body = stand.complete(n=2, stop="X", max_tokens=30).json()
    assert [choice["text"] for choice in body["choices"]] == ["a", "abc"]
