"""`return_token_ids`: exactly the tokens, so that a client can compare them."""

from __future__ import annotations

from typing import Any

import pytest

from engine.wire.to_scheduler import Submit
from tests.gateway.stand import MODEL, Stand, events, live_events, streamed_text
from tests.gateway.tiny_model import byte_tokens

TEXT = "a🙂b"


@pytest.fixture
def token_ids(stand: Stand) -> list[int]:
    """What the engine will answer: one token a byte, and the end token."""
    stand.says_bytes(TEXT)
    return [*byte_tokens(stand.tokenizer, TEXT), 1]


def streamed_ids(chunks: list[Any]) -> list[list[int]]:
    return [chunk["choices"][0]["token_ids"] for chunk in chunks]


def test_a_completion_with_its_tokens(stand: Stand, token_ids: list[int]) -> None:
    (choice,) = stand.complete(return_token_ids=True).json()["choices"]
    request = stand.scheduler.expect(Submit).request
    assert (choice["token_ids"], choice["prompt_token_ids"]) == (token_ids, request.prompt_ids)


def test_a_chat_with_its_tokens(stand: Stand, token_ids: list[int]) -> None:
    body = stand.chat(return_token_ids=True).json()
    request = stand.scheduler.expect(Submit).request
    assert (body["choices"][0]["token_ids"], body["prompt_token_ids"]) == (token_ids, request.prompt_ids)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_in_a_stream_no_token_is_silent(stand: Stand, token_ids: list[int], path: str) -> None:
    asked = {"prompt": "Hi"} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "Hi"}]}
    body = {"model": MODEL, "stream": True, "return_token_ids": True, **asked}
    stand.scheduler.is_held = True
    with stand.client.stream("POST", path, json=body) as response:
        request = stand.scheduler.expect(Submit).request
        rest, chunks = live_events(response), list[Any]()
        for _ in token_ids:
            stand.scheduler.step()
            chunks.append(next(rest))
        assert list(rest) == ["[DONE]"]
    assert streamed_ids(chunks) == [[token_id] for token_id in token_ids]
    assert streamed_text(chunks) == TEXT
    places = [chunk["choices"][0] if path == "/v1/completions" else chunk for chunk in chunks]
    assert places[0]["prompt_token_ids"] == request.prompt_ids
    assert all("prompt_token_ids" not in place for place in places[1:])


def test_tokens_of_a_stop_string_and_of_each_prompt(stand: Stand, token_ids: list[int]) -> None:
    choices = stand.complete(prompt=[[5, 6], [7]], n=2, stop="🙂", return_token_ids=True).json()["choices"]
    assert [choice["prompt_token_ids"] for choice in choices] == [[5, 6], [5, 6], [7], [7]]
    assert [choice["token_ids"] for choice in choices] == [token_ids[:5]] * 4
    assert [choice["text"] for choice in choices] == ["a"] * 4


def test_without_it_there_are_none(stand: Stand, token_ids: list[int]) -> None:
    for body in [stand.chat().json(), stand.complete().json(), *events(stand.complete(stream=True))[:-1]]:
        assert "prompt_token_ids" not in body
        assert "token_ids" not in body["choices"][0] and "prompt_token_ids" not in body["choices"][0]
