"""Answers, whole and streamed, as OpenAI's clients expect them."""

from __future__ import annotations

import pytest

from engine.request import SamplingParams
from engine.wire.to_scheduler import Submit
from tests.gateway.stand import KEY_ID, MODEL, Stand, events, live_events, streamed_text
from tests.gateway.tiny_model import byte_tokens

TEXTS = [
    "Hello world, how are you today?",
    "  leading and  double   spaces \n\n\tand lines\n",
    "naïve café — 你好，世界",
    "🙂 family 👨‍👩‍👧‍👦 flag 🇩🇪 combining e\u0301 नमस्ते",
    'quotes " backslash \\ and </script> \u2028',
]


def test_a_completion(stand: Stand) -> None:
    stand.says("Hello world")
    response = stand.complete(max_tokens=50)
    assert response.status_code == 200
    body = response.json()
    assert body["id"].startswith("cmpl-") and body["object"] == "text_completion" and body["model"] == MODEL
    assert body["choices"] == [{"index": 0, "text": "Hello world", "logprobs": None, "finish_reason": "stop"}]
    request = stand.scheduler.expect(Submit).request
    answer_tokens = len(stand.tokenizer.encode("Hello world", add_special_tokens=False).ids)
    assert body["usage"] == {
        "prompt_tokens": len(request.prompt_ids),
        "completion_tokens": answer_tokens + 1,  # the end token counts and has no text
        "total_tokens": len(request.prompt_ids) + answer_tokens + 1,
    }


def test_a_chat_completion(stand: Stand) -> None:
    stand.says("Hello world")
    body = stand.chat().json()
    assert body["id"].startswith("chatcmpl-") and body["object"] == "chat.completion"
    message = {"role": "assistant", "content": "Hello world"}
    assert body["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("path", ["completions", "chat"])
@pytest.mark.parametrize("is_cut_in_bytes", [False, True])
def test_a_stream_says_what_the_whole_answer_says(stand: Stand, path: str, text: str, is_cut_in_bytes: bool) -> None:
    (stand.says_bytes if is_cut_in_bytes else stand.says)(text)
    ask = stand.complete if path == "completions" else stand.chat
    chunks = events(ask(stream=True, max_tokens=180))
    whole = ask(max_tokens=180).json()["choices"][0]
    assert streamed_text(chunks) == text == whole.get("text", whole.get("message", {}).get("content"))
    assert chunks[-1] == "[DONE]"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-2:-1]] == ["stop"]
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks[:-2])
    assert len({chunk["id"] for chunk in chunks[:-1]}) == 1


def test_an_answer_that_ends_inside_a_character_ends_with_the_replacement_character(stand: Stand) -> None:
    stand.says_bytes("ab🙂")
    assert stand.complete(max_tokens=4).json()["choices"][0]["text"] == "ab\ufffd"
    assert streamed_text(events(stand.complete(max_tokens=4, stream=True))) == "ab\ufffd"


def test_the_length_ends_an_answer(stand: Stand) -> None:
    stand.says("Hello world, how are you today?")
    body = stand.complete(max_tokens=2).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 2
    assert events(stand.complete(max_tokens=2, stream=True))[-2]["choices"][0]["finish_reason"] == "length"


def test_the_role_comes_with_the_first_token_and_never_before(stand: Stand) -> None:
    stand.says_bytes("ab")
    stand.scheduler.is_held = True
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with stand.client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200  # accepted: the headers are here, without a token
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        chunks = live_events(response)
        stand.scheduler.step()
        assert next(chunks)["choices"][0]["delta"] == {"role": "assistant", "content": "a"}
        stand.scheduler.step()
        assert next(chunks)["choices"][0]["delta"] == {"content": "b"}
        stand.scheduler.step()
        last = next(chunks)["choices"][0]
        assert (last["delta"], last["finish_reason"]) == ({}, "stop")
        assert next(chunks) == "[DONE]"


def test_the_first_token_brings_the_role_even_if_it_completes_no_character(stand: Stand) -> None:
    stand.says_bytes("é")
    stand.scheduler.is_held = True
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with stand.client.stream("POST", "/v1/chat/completions", json=body) as response:
        chunks = live_events(response)
        stand.scheduler.step()
        assert next(chunks)["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        stand.scheduler.step()
        assert next(chunks)["choices"][0]["delta"] == {"content": "é"}
        stand.scheduler.is_held = False
        stand.scheduler.step()


def test_usage_comes_in_a_stream_only_when_asked_for(stand: Stand) -> None:
    stand.says("Hello world")
    assert all("usage" not in chunk for chunk in events(stand.chat(stream=True))[:-1])
    chunks = events(stand.chat(stream=True, stream_options={"include_usage": True}))
    assert chunks[-1] == "[DONE]"
    assert chunks[-2]["choices"] == []
    assert chunks[-2]["usage"] == stand.chat().json()["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-2])


@pytest.mark.parametrize("stop", ["wor", ["xyz", "wor"], "o world", ["world, how", "llo w"], "Hello"])
def test_a_stop_string_cuts_the_text_and_cancels_the_rest(stand: Stand, stop: str | list[str]) -> None:
    text = "Hello world, how are you today?"
    stand.says_bytes(text)
    stand.scheduler.is_held = True
    stops = [stop] if isinstance(stop, str) else stop
    expected = text[: min(text.find(string) for string in stops if string in text)]
    body = {"model": MODEL, "prompt": "Hi", "stream": True, "max_tokens": 60, "stop": stop}
    with stand.client.stream("POST", "/v1/completions", json=body) as response:
        request_id = stand.scheduler.expect(Submit).request.request_id
        for _ in range(len(expected) + max(len(string) for string in stops)):
            stand.scheduler.step()
        chunks = list(live_events(response))
    assert streamed_text(chunks) == expected
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    stand.scheduler.expect_cancel(request_id)
    stand.scheduler.is_held = False
    whole = stand.complete(max_tokens=60, stop=stop).json()
    assert whole["choices"][0] == {"index": 0, "text": expected, "logprobs": None, "finish_reason": "stop"}
    assert len(expected) < whole["usage"]["completion_tokens"] <= len(text)


def test_text_held_back_for_a_stop_string_comes_when_the_answer_ends(stand: Stand) -> None:
    stand.says("Hello world")
    assert stand.complete(max_tokens=30, stop="world!").json()["choices"][0]["text"] == "Hello world"
    assert streamed_text(events(stand.complete(max_tokens=30, stop="world!", stream=True))) == "Hello world"


def test_stop_strings_count_after_min_tokens_only(stand: Stand) -> None:
    stand.says_bytes("aXbXc")
    assert stand.complete(stop="X").json()["choices"][0]["text"] == "a"
    assert stand.complete(stop="X", min_tokens=2).json()["choices"][0]["text"] == "aXb"


def test_special_tokens_have_no_text(stand: Stand) -> None:
    a, b = byte_tokens(stand.tokenizer, "ab")
    stand.scheduler.script = lambda request: [a, 3, 1, b, 5]
    body = stand.complete(ignore_eos=True, max_tokens=5).json()
    assert (body["choices"][0]["text"], body["usage"]["completion_tokens"]) == ("ab", 5)


def test_a_token_id_without_text_is_silent(stand: Stand) -> None:
    padding = stand.tokenizer.get_vocab_size() + 2
    stand.scheduler.script = lambda request: [*byte_tokens(stand.tokenizer, "a"), padding]
    assert stand.complete().json()["choices"][0]["text"] == "a"


def test_what_is_handed_in(stand: Stand) -> None:
    stand.complete(max_tokens=7, temperature=0, top_p=0.5, top_k=-1, seed=42, min_tokens=3)
    request = stand.scheduler.expect(Submit).request
    assert request.prompt_ids == stand.tokenizer.encode("Hello").ids and request.prompt_ids[0] == 0
    assert request.key_id == KEY_ID and request.received_at > 0 and request.emitted_ids == []
    assert request.sampling == SamplingParams(
        max_tokens=7, seed=42, temperature=0.0, top_p=0.5, top_k=0, min_tokens=3, stop_token_ids=(1, 2)
    )


def test_what_is_handed_in_where_the_client_says_nothing(stand: Stand) -> None:
    stand.complete()
    stand.chat()
    text, chat = stand.scheduler.expect(Submit).request, stand.scheduler.expect(Submit).request
    assert (text.sampling.max_tokens, chat.sampling.max_tokens) == (16, 200 - len(chat.prompt_ids))
    assert (text.sampling.temperature, text.sampling.top_p, text.sampling.top_k) == (0.6, 1.0, 40)
    assert text.sampling.seed != chat.sampling.seed
    assert text.request_id != chat.request_id


def test_a_chat_prompt_is_the_template_without_a_second_bos(stand: Stand) -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": "Three", "name": "ann"},
    ]
    stand.chat(messages=messages, max_completion_tokens=3, max_tokens=9)
    request = stand.scheduler.expect(Submit).request
    assert stand.tokenizer.decode(request.prompt_ids, skip_special_tokens=False) == (
        "<|begin|><|system|>Be brief.<|turn_end|><|user|>One\ntwo<|turn_end|>"
        "<|assistant|><|turn_end|><|user|>Three<|turn_end|><|assistant|>"
    )
    assert request.prompt_ids.count(0) == 1
    assert request.sampling.max_tokens == 3


def test_a_prompt_of_token_ids_is_taken_as_it_is(stand: Stand) -> None:
    stand.complete(prompt=[5, 0, 17])
    assert stand.scheduler.expect(Submit).request.prompt_ids == [5, 0, 17]


def test_a_long_prompt_is_the_same_prompt(stand: Stand) -> None:
    """Long texts are tokenised in a thread."""
    text = " " + "the quick brown fox " * 300
    response = stand.complete(prompt=text)
    expected = len(stand.tokenizer.encode(text).ids)
    assert f"The prompt has {expected} tokens" in response.json()["error"]["message"]


def test_ignore_eos_leaves_nothing_to_stop_at(stand: Stand) -> None:
    stand.complete(ignore_eos=True, max_tokens=3)
    assert stand.scheduler.expect(Submit).request.sampling.stop_token_ids == ()


def test_a_token_that_comes_twice_is_said_once(stand: Stand) -> None:
    stand.says_bytes("ab")
    stand.scheduler.is_held = True
    body = {"model": MODEL, "prompt": "Hi", "stream": True}
    with stand.client.stream("POST", "/v1/completions", json=body) as response:
        stand.scheduler.expect(Submit)
        stand.scheduler.step()
        stand.scheduler.repeat_last()
        stand.scheduler.step()
        stand.scheduler.step()
        assert streamed_text(list(live_events(response))) == "ab"


def test_nulls_and_unknown_fields_are_ignored(stand: Stand) -> None:
    response = stand.chat(stop=None, stream=None, temperature=None, n=1, logit_bias={}, user="ann", min_tokens=None)
    assert response.status_code == 200
