"""The official client against the real server."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.gateway.stand import KEY, MODEL, Stand

TEXT = "Hello 🙂, 你好 world"


@pytest.fixture
def client(stand: Stand) -> Iterator[openai.OpenAI]:
    stand.says_bytes(TEXT)
    with openai.OpenAI(base_url=f"{stand.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def test_chat_streamed_and_not(client: openai.OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
    whole = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=60)
    stream = client.chat.completions.create(
        model=MODEL, messages=messages, max_tokens=60, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == TEXT == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage == whole.usage
    assert whole.usage is not None and whole.usage.completion_tokens == len(TEXT.encode()) + 1


def test_completions_streamed_and_not(client: openai.OpenAI) -> None:
    whole = client.completions.create(model=MODEL, prompt="Hi", max_tokens=60, stop=["wor"])
    chunks = list(client.completions.create(model=MODEL, prompt="Hi", max_tokens=60, stop=["wor"], stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text == "Hello 🙂, 你好 "


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


def test_errors_are_the_clients_own_exceptions(client: openai.OpenAI, stand: Stand) -> None:
    with pytest.raises(openai.NotFoundError) as not_found:
        client.completions.create(model="other", prompt="Hi")
    assert not_found.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad_request:
        client.completions.create(model=MODEL, prompt="Hi", temperature=9)
    assert bad_request.value.param == "temperature"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    stand.scheduler.is_held = True
    stream = client.completions.create(model=MODEL, prompt="Hi", stream=True)
    stand.scheduler.fail()
    with pytest.raises(openai.APIError, match="lost this request"):
        list(stream)


def test_closing_a_stream_cancels_the_request(client: openai.OpenAI, stand: Stand) -> None:
    stand.scheduler.is_held = True
    stream = client.completions.create(model=MODEL, prompt="Hi", stream=True)
    stand.scheduler.step()
    request_id = int(next(iter(stream)).id.removeprefix("cmpl-"), 16)
    stream.close()
    stand.scheduler.expect_cancel(request_id)
