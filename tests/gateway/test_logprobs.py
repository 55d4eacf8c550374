"""Log-probabilities in OpenAI's two forms, with the bytes of characters that tokens cut."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from engine.wire.to_scheduler import Submit
from tests.gateway.stand import KEY, MODEL, Stand, events
from tests.gateway.tiny_model import byte_tokens

TEXT = "a🙂b"
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def client(stand: Stand) -> Iterator[openai.OpenAI]:
    (z,) = byte_tokens(stand.tokenizer, "z")

    def likely(token_id: int) -> tuple[float, Sequence[tuple[int, float]]]:
        """The token itself, the letter z, an end token, and what cannot be drawn."""
        return -0.25, [(token_id, -0.25), (z, -2.5), (1, -3.5), (2, -math.inf)]

    stand.says_bytes(TEXT)
    stand.scheduler.likely = likely
    with openai.OpenAI(base_url=f"{stand.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def test_of_a_chat(client: openai.OpenAI, stand: Stand) -> None:
    body = client.chat.completions.create(model=MODEL, messages=MESSAGES, logprobs=True, top_logprobs=4)
    assert stand.scheduler.expect(Submit).request.sampling.logprobs == 4
    logprobs = body.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert [entry.bytes for entry in logprobs.content] == [[byte] for byte in TEXT.encode()]
    assert bytes(byte for entry in logprobs.content for byte in entry.bytes or []).decode() == TEXT
    assert [entry.token for entry in logprobs.content] == ["a", *["\ufffd"] * 4, "b"]
    assert {entry.logprob for entry in logprobs.content} == {-0.25}
    tops = [(top.token, top.logprob, bytes(top.bytes or [])) for top in logprobs.content[0].top_logprobs]
    assert tops == [
        ("a", -0.25, b"a"),
        ("z", -2.5, b"z"),
        ("<|end|>", -3.5, b"<|end|>"),
        ("<|turn_end|>", -9999.0, b"<|turn_end|>"),
    ]


def test_of_a_chat_without_the_likeliest(client: openai.OpenAI, stand: Stand) -> None:
    body = client.chat.completions.create(model=MODEL, messages=MESSAGES, logprobs=True)
    assert stand.scheduler.expect(Submit).request.sampling.logprobs == 0
    logprobs = body.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert [entry.top_logprobs for entry in logprobs.content] == [[]] * len(TEXT.encode())


def test_of_a_streamed_chat(client: openai.OpenAI) -> None:
    """A token that completes no text has a chunk too."""
    whole = client.chat.completions.create(model=MODEL, messages=MESSAGES, logprobs=True, top_logprobs=2).choices[0]
    stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, logprobs=True, top_logprobs=2, stream=True)
    entries = []
    for chunk in stream:
        logprobs = chunk.choices[0].logprobs
        assert logprobs is not None and logprobs.content is not None
        entries += logprobs.content
    assert whole.logprobs is not None and entries == whole.logprobs.content


def test_of_a_completion(client: openai.OpenAI, stand: Stand) -> None:
    logprobs = client.completions.create(model=MODEL, prompt="Hi", logprobs=3).choices[0].logprobs
    assert stand.scheduler.expect(Submit).request.sampling.logprobs == 3
    assert logprobs is not None
    emoji = [f"bytes:\\x{byte:02x}" for byte in "🙂".encode()]
    assert logprobs.tokens == ["a", *emoji, "b"]
    assert logprobs.token_logprobs == [-0.25] * 6
    assert logprobs.text_offset == [0, 1, 1, 1, 1, 2], "a character begins where its first byte does"
    assert logprobs.top_logprobs is not None
    assert logprobs.top_logprobs[1] == {emoji[0]: -0.25, "z": -2.5, "<|end|>": -3.5}


def test_of_a_streamed_completion_are_those_of_the_whole(client: openai.OpenAI, stand: Stand) -> None:
    whole = stand.complete(logprobs=2).json()["choices"][0]["logprobs"]
    chunks = [chunk["choices"][0]["logprobs"] for chunk in events(stand.complete(logprobs=2, stream=True))[:-1]]
    assert {name: [entry for chunk in chunks for entry in chunk[name]] for name in whole} == whole
    assert set(whole) == {"text_offset", "token_logprobs", "tokens", "top_logprobs"}


def test_the_own_token_is_told_even_if_it_is_not_likely(client: openai.OpenAI, stand: Stand) -> None:
    (z,) = byte_tokens(stand.tokenizer, "z")
    stand.scheduler.likely = lambda token_id: (-7.0, [(z, -0.1)])
    logprobs = client.completions.create(model=MODEL, prompt="Hi", logprobs=1).choices[0].logprobs
    assert logprobs is not None and logprobs.top_logprobs is not None
    assert logprobs.top_logprobs[0] == {"a": -7.0, "z": -0.1}


def test_not_asked_for_not_computed(client: openai.OpenAI, stand: Stand) -> None:
    assert client.completions.create(model=MODEL, prompt="Hi").choices[0].logprobs is None
    assert client.chat.completions.create(model=MODEL, messages=MESSAGES).choices[0].logprobs is None
    for _ in range(2):
        assert stand.scheduler.expect(Submit).request.sampling.logprobs is None
