"""Every error a client can meet, as OpenAI's error body."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import msgspec
import pytest

from engine.wire.to_scheduler import Submit
from tests.gateway.fake_scheduler import READY, refuse
from tests.gateway.stand import KEY, MAX_BODY_BYTES, MODEL, Stand, live_events


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"].endswith(".")
    return body["error"]


TEXT_MISTAKES = [
    ({"prompt": ["one", [1]]}, "prompt"),
    ({"prompt": [[1, 2], []]}, "prompt"),
    ({"prompt": [[1, "2"]]}, "prompt"),
    ({"prompt": [[[1]]]}, "prompt"),
    ({"prompt": ["one", ""] * 65}, "prompt"),
    ({"prompt": [True]}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [-1]}, "prompt"),
    ({"prompt": [10**9]}, "prompt"),
    ({"prompt": {"a": 1}}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"n": 0}, "n"),
    ({"n": 129}, "n"),
    ({"n": 65, "prompt": ["one", "two"]}, "n"),
    ({"n": 2, "best_of": 3}, "best_of"),
    ({"best_of": 2}, "best_of"),
    ({"logprobs": 21}, "logprobs"),
    ({"logprobs": -1}, "logprobs"),
    ({"logprobs": True}, "logprobs"),
    ({"echo": True}, "echo"),
    ({"suffix": "end"}, "suffix"),
    ({"min_p": 1.1}, "min_p"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"frequency_penalty": -2.1}, "frequency_penalty"),
    ({"logit_bias": {"5": 101}}, "logit_bias"),
    ({"logit_bias": {"five": 1}}, "logit_bias"),
    ({"logit_bias": {"-1": 1}}, "logit_bias"),
    ({"logit_bias": {"999999": 1}}, "logit_bias"),
    ({"logit_bias": {"5": "1"}}, "logit_bias.5"),
    ({"logit_bias": [5]}, "logit_bias"),
    ({"logit_bias": {str(token_id): 1 for token_id in range(1025)}}, "logit_bias"),
    ({"stop_token_ids": [-1]}, "stop_token_ids.0"),
    ({"stop_token_ids": [999_999]}, "stop_token_ids"),
    ({"stop_token_ids": [1] * 129}, "stop_token_ids"),
    ({"priority": 2**31}, "priority"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": 5, "min_tokens": 6}, "min_tokens"),
    ({"min_tokens": 17}, "min_tokens"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_p": 1.1}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"seed": 2**63}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"stop": [""]}, "stop"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"stop": "a" * 1025}, "stop"),
    ({"stop": 5}, "stop"),
    ({"stream": 1}, "stream"),
    ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
    ({"model": None}, "model"),
]
CHAT_MISTAKES = [
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"logprobs": 1}, "logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),  # this model has no format for them
    ({"tools": [{"type": "retrieval"}]}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": "{}"}}]}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
    ({"tool_choice": "sometimes"}, "tool_choice"),
    ({"tool_choice": {"type": "function"}}, "tool_choice"),
]


@pytest.mark.parametrize(("fields", "param"), TEXT_MISTAKES)
def test_a_field_of_a_completion_that_cannot_be_served(stand: Stand, fields: dict[str, Any], param: str) -> None:
    error = error_of(stand.complete(**fields), 400)
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "invalid_value", param)


@pytest.mark.parametrize(("fields", "param"), CHAT_MISTAKES)
def test_a_field_of_a_chat_that_cannot_be_served(stand: Stand, fields: dict[str, Any], param: str) -> None:
    error = error_of(stand.chat(**fields), 400)
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "invalid_value", param)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"text"', b"\xff", b'{"temperature": NaN}', b"[" * 10_000, b'{"prompt": "\\ud800"}', b"1e999"],
)
def test_a_body_that_is_no_json_object(stand: Stand, body: bytes) -> None:
    assert error_of(stand.client.post("/v1/completions", content=body), 400)["code"] == "invalid_value"


def test_an_integer_too_large_for_the_wire(stand: Stand) -> None:
    body = json.dumps({"model": MODEL, "prompt": [10**30]})
    assert error_of(stand.client.post("/v1/completions", content=body), 400)["param"] == "prompt"


@pytest.mark.parametrize("fields", [{"prompt": [7] * 200}, {"prompt": [7] * 150, "max_tokens": 51}])
def test_what_does_not_fit_the_pool(stand: Stand, fields: dict[str, Any]) -> None:
    error = error_of(stand.complete(**fields), 400)
    assert error["code"] == "context_length_exceeded" and "at most 200" in error["message"]


def test_what_does_not_fit_the_model(stand: Stand) -> None:
    stand.scheduler.load_table.publish(msgspec.structs.replace(READY, max_model_len=100))
    assert "at most 100" in error_of(stand.complete(prompt=[7] * 100), 400)["message"]


def test_as_many_tokens_as_fit_are_served(stand: Stand) -> None:
    assert stand.complete(prompt=[7] * 150, max_tokens=50).status_code == 200
    assert stand.complete(prompt=[7] * 190).json()["usage"]["total_tokens"] <= 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/models"])
@pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic abc"])
def test_without_a_key(stand: Stand, path: str, header: str) -> None:
    method = "GET" if path == "/v1/models" else "POST"
    response = httpx.request(method, stand.url + path, headers={"Authorization": header}, trust_env=False)
    error = error_of(response, 401)
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"


def test_another_model(stand: Stand) -> None:
    error = error_of(stand.complete(model="gpt-9"), 404)
    assert (error["type"], error["param"], error["code"]) == ("not_found_error", "model", "model_not_found")
    assert "'tiny'" in error["message"]


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/models/", "/v1/embeddings"])
def test_another_path(stand: Stand, path: str) -> None:
    assert path in error_of(stand.client.get(path), 404)["message"]


def test_another_method(stand: Stand) -> None:
    response = stand.client.get("/v1/completions")
    error_of(response, 405)
    assert response.headers["allow"] == "POST"


def test_a_body_that_says_it_is_too_large(stand: Stand) -> None:
    response = stand.complete(prompt="a" * MAX_BODY_BYTES)
    assert error_of(response, 413)["code"] == "request_too_large"
    assert stand.complete().status_code == 200


def test_a_body_that_does_not_say_how_large_it_is(stand: Stand) -> None:
    """Chunked and endless: answered while the body is still being sent."""
    with socket.create_connection(("127.0.0.1", stand.port), timeout=30) as connection:
        connection.sendall(
            f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        connection.sendall(b"%x\r\n%s\r\n" % (MAX_BODY_BYTES + 1, b" " * (MAX_BODY_BYTES + 1)))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("is_streamed", [False, True])
def test_an_engine_that_is_not_ready(stand: Stand, is_streamed: bool) -> None:
    stand.scheduler.load_table.publish(msgspec.structs.replace(READY, ready=False))
    response = stand.chat(stream=is_streamed)
    error = error_of(response, 503)
    assert (error["type"], error["code"]) == ("service_unavailable_error", "overloaded")
    assert int(response.headers["retry-after"]) >= 1
    assert stand.client.get("/health").status_code == 503


def test_a_queue_that_is_full_is_seen_before_the_scheduler_is_asked(stand: Stand) -> None:
    stand.scheduler.load_table.publish(msgspec.structs.replace(READY, waiting=8))
    response = stand.complete()
    assert "8 requests are waiting" in error_of(response, 503)["message"]
    assert "retry-after" in response.headers
    stand.scheduler.load_table.publish(READY)
    stand.complete(seed=77)
    assert stand.scheduler.expect(Submit).request.sampling.seed == 77  # the first was never handed in


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_refusal_of_the_scheduler_is_an_http_error(stand: Stand, is_streamed: bool) -> None:
    stand.scheduler.refusal = refuse("overloaded", "The queue is full.", 3)
    response = stand.chat(stream=is_streamed)
    assert error_of(response, 503)["message"] == "The queue is full."
    assert response.headers["retry-after"] == "3"
    stand.scheduler.refusal = refuse("context_length_exceeded", "Too long.")
    response = stand.chat(stream=is_streamed)
    assert error_of(response, 400)["code"] == "context_length_exceeded"
    assert "retry-after" not in response.headers
    stand.scheduler.refusal = refuse("of_tomorrow", "Something new.")
    assert error_of(stand.chat(stream=is_streamed), 500)["code"] == "engine_failure"


def test_an_engine_that_fails_in_a_stream_ends_it_with_an_error(stand: Stand) -> None:
    stand.scheduler.is_held = True
    body = {"model": MODEL, "prompt": "Hi", "stream": True}
    with stand.client.stream("POST", "/v1/completions", json=body) as response:
        stand.scheduler.step()
        chunks = live_events(response)
        assert next(chunks)["choices"][0]["text"]
        stand.scheduler.fail()
        rest = list(chunks)
    assert rest == [
        {
            "error": {
                "message": "The engine lost this request.",
                "type": "internal_error",
                "param": None,
                "code": "engine_failure",
            }
        }
    ]


def test_an_engine_that_loses_a_token_does_not_go_on_as_if_nothing_had_happened(stand: Stand) -> None:
    stand.scheduler.is_held = True
    body = {"model": MODEL, "prompt": "Hi", "stream": True}
    with stand.client.stream("POST", "/v1/completions", json=body) as response:
        request_id = stand.scheduler.expect(Submit).request.request_id
        stand.scheduler.skip()
        stand.scheduler.step()
        assert [event["error"]["code"] for event in live_events(response)] == ["engine_failure"]
    stand.scheduler.expect_cancel(request_id)


def test_the_request_id_is_the_clients_or_a_new_one(stand: Stand) -> None:
    own = stand.client.get("/health", headers={"x-request-id": "abc-1"})
    assert own.headers["x-request-id"] == "abc-1"
    new = [stand.client.get("/nowhere", headers={"x-request-id": "a b" * 99}).headers["x-request-id"] for _ in range(2)]
    assert len(set(new)) == 2 and all(len(request_id) == 32 for request_id in new)
