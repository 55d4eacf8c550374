"""What a client can ask beside generation: the model, tokens, settings, load, version, and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import httpx
import jsonschema
import msgspec
import openai
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from engine.gateway.app import create_app
from engine.gateway.openapi import document
from engine.gateway.version import version
from tests.gateway.fake_scheduler import READY
from tests.gateway.stand import KEY, KEY_ID, MODEL, Stand, events

NEEDS_KEY = ["/v1/models", f"/v1/models/{MODEL}", "/v1/loads", "/server_info"]
NEEDS_NO_KEY = ["/v1/health/live", "/v1/health/ready", "/health", "/metrics", "/version", "/openapi.json"]


@pytest.fixture
def client(stand: Stand) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stand.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "status"), [(path, 401) for path in NEEDS_KEY] + [(path, 200) for path in NEEDS_NO_KEY]
)
def test_who_needs_a_key(stand: Stand, path: str, status: int) -> None:
    assert httpx.get(stand.url + path, trust_env=False).status_code == status
    assert stand.client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize"])
def test_tokens_need_a_key(stand: Stand, path: str) -> None:
    assert httpx.post(stand.url + path, json={"prompt": "a", "tokens": [6]}, trust_env=False).status_code == 401


def test_one_model(client: openai.OpenAI) -> None:
    card = client.models.retrieve(MODEL)
    assert (card.id, card.object, card.model_dump()["max_model_len"]) == (MODEL, "model", 256)
    assert card == client.models.list().data[0]
    for other in ("gpt-9", "org/gpt-9"):
        with pytest.raises(openai.NotFoundError) as not_found:
            client.models.retrieve(other)
        assert not_found.value.code == "model_not_found"


def test_ready_and_alive_are_two_things(stand: Stand) -> None:
    assert stand.client.get("/v1/health/ready").json() == stand.client.get("/health").json()
    stand.scheduler.load_table.publish(msgspec.structs.replace(READY, ready=False))
    ready = stand.client.get("/v1/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    alive = stand.client.get("/v1/health/live")
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})


def test_the_version(stand: Stand) -> None:
    assert stand.client.get("/version").json() == {"version": version()}
    assert version().count(".") == 2


def test_server_info_shows_settings_and_no_secrets(stand: Stand) -> None:
    info = stand.client.get("/server_info").json()
    settings = stand.ports.read_settings()
    shown = settings.model_dump(mode="json")
    assert len(info) > 10
    for name in info.keys() & shown.keys() - {"max_model_len"}:  # which is the engine's, not the setting
        assert info[name] == shown[name], name
    assert (info["model"], info["max_model_len"], info["version"]) == (MODEL, 256, version())
    assert (info["device"], info["page_size"]) == ("cpu", settings.page_size)
    assert (info["prefill_sm_percentage"], info["decode_sm_percentage"]) == (80, 100)
    assert str(stand.ports.runtime_dir) not in str(info) and str(settings.model_path) not in str(info)


def test_loads_are_the_table_without_the_other_keys(stand: Stand) -> None:
    load = msgspec.structs.replace(READY, waiting=3, live_by_key={KEY_ID: 2, "0123456789ab": 1})
    stand.scheduler.load_table.publish(load)
    expected = {name: value for name, value in msgspec.to_builtins(load).items() if name != "live_by_key"}
    assert stand.client.get("/v1/loads").json() == {**expected, "live_of_this_key": 2}


TEXT = "Hello 🙂 world"


def test_tokens_of_a_text_and_back(stand: Stand) -> None:
    asked = {"model": MODEL, "prompt": TEXT}
    body = stand.client.post("/tokenize", json=asked).json()
    ids = stand.tokenizer.encode(TEXT).ids
    assert body == {"count": len(ids), "max_model_len": 256, "tokens": ids, "token_strs": None}
    bare = stand.client.post("/tokenize", json={"prompt": TEXT, "add_special_tokens": False}).json()["tokens"]
    assert bare == ids[1:]
    assert stand.client.post("/detokenize", json={"tokens": bare}).json() == {"prompt": TEXT}
    assert stand.client.post("/detokenize", json={"tokens": ids}).json() == {"prompt": "<|begin|>" + TEXT}
    assert stand.client.post("/detokenize", json={"tokens": []}).json() == {"prompt": ""}


def test_tokens_of_a_chat(stand: Stand) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    asked = {"messages": messages, "return_token_strs": True}
    body = stand.client.post("/tokenize", json=asked).json()
    assert stand.tokenizer.decode(body["tokens"], skip_special_tokens=False) == (
        "<|begin|><|user|>Hi<|turn_end|><|assistant|>"
    )
    assert "".join(body["token_strs"]) == "<|begin|><|user|>Hi<|turn_end|><|assistant|>"
    closed = stand.client.post("/tokenize", json={"messages": messages, "add_generation_prompt": False}).json()
    assert closed["tokens"] == body["tokens"][:-1]
    used = stand.chat(messages=messages).json()["usage"]
    assert used["prompt_tokens"] == body["count"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "messages"),
        ("/tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "messages"),
        ("/tokenize", {"prompt": 5}, "prompt"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": ["a"]}, "tokens.0"),
        ("/detokenize", {"tokens": [10**9]}, "tokens"),
        ("/detokenize", {"tokens": [10**30]}, "tokens.0"),
    ],
)
def test_tokens_that_cannot_be_had(stand: Stand, path: str, body: dict[str, Any], param: str) -> None:
    response = stand.client.post(path, json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_tokens_of_another_model(stand: Stand) -> None:
    response = stand.client.post("/tokenize", json={"model": "gpt-9", "prompt": "a"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


# ── the OpenAPI document ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_document_has_the_routes_of_the_application(stand: Stand) -> None:
    app: Starlette = create_app(stand.ports)
    routes = {
        (route.path.replace(":path", ""), method.lower())
        for route in cast("list[Route]", app.routes)
        for method in (route.methods or set()) - {"HEAD"}
    }
    paths = stand.client.get("/openapi.json").json()["paths"]
    assert {(path, method) for path, operations in paths.items() for method in operations} == routes


def test_the_document_says_who_needs_a_key() -> None:
    paths = document()["paths"]
    closed = {path for path, operations in paths.items() for operation in operations.values() if operation["security"]}
    assert closed == paths.keys() - set(NEEDS_NO_KEY)


def test_every_reference_leads_somewhere() -> None:
    schemas = document()["components"]["schemas"]
    for reference in references(document()):
        assert reference.removeprefix("#/components/schemas/") in schemas
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for name, value in node.items() if name == "$ref")
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from references(item)


def validator(name: str) -> jsonschema.Draft202012Validator:
    """For one of the document's schemas."""
    return jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", **document()})


def test_answers_are_as_the_document_says(stand: Stand) -> None:
    shown = {"return_token_ids": True, "logprobs": True, "top_logprobs": 2}
    validator("ChatBody").validate(stand.chat(n=2, **shown).json())
    for chunk in events(stand.chat(stream=True, stream_options={"include_usage": True}, **shown))[:-1]:
        validator("ChatChunk").validate(chunk)
    validator("TextBody").validate(stand.complete(logprobs=2, return_token_ids=True).json())
    for chunk in events(stand.complete(stream=True, stream_options={"include_usage": True}))[:-1]:
        validator("TextBody").validate(chunk)
    validator("ErrorBody").validate(stand.complete(n=0).json())
    for path, name in [("/v1/models", "ModelList"), ("/health", "Health"), ("/server_info", "ServerInfo")]:
        validator(name).validate(stand.client.get(path).json())


@pytest.mark.parametrize(
    ("fields", "is_valid"),
    [
        ({}, True),
        ({"prompt": ["a", "b"]}, True),
        ({"prompt": [[1], [2]]}, True),
        ({"prompt": [1, "a"]}, False),
        ({"n": None, "stop": None, "seed": None}, True),
        ({"n": 0}, False),
        ({"temperature": 2.5}, False),
        ({"stop": "x"}, True),
        ({"stop": ["x"] * 17}, False),
        ({"logit_bias": {"5": -100}}, True),
        ({"logit_bias": {"five": 1}}, False),
        ({"logit_bias": {"5": 101}}, False),
        ({"response_format": {"type": "json_object"}}, True),
        ({"response_format": {"type": "xml"}}, False),
        ({"echo": True}, False),
        ({"unknown": 1}, True),
    ],
)
def test_requests_are_taken_as_the_document_says(stand: Stand, fields: dict[str, Any], is_valid: bool) -> None:
    body = {"model": MODEL, "prompt": "Hi", **fields}
    assert validator("CompletionRequest").is_valid(body) is is_valid
    assert stand.client.post("/v1/completions", json=body).is_success is is_valid
