"""Structured output as its user asks for it: the official client, the demo model, and groups that change meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import openai
import pytest

from tests.system.appliance import Appliance, running_appliance

pytestmark = pytest.mark.system

BOOK: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 24},
        "year": {"type": "integer", "minimum": 1450, "maximum": 2100},
        "kind": {"type": "string", "enum": ["novel", "manual", "poem"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}, "minItems": 1, "maxItems": 3},
    },
    "required": ["title", "year", "kind", "tags"],
    "additionalProperties": False,
}
FLAGS: dict[str, Any] = {"type": "array", "items": {"type": ["boolean", "null"]}, "minItems": 3, "maxItems": 9}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "book", "schema": BOOK, "strict": True}}


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with running_appliance(tmp_path_factory.mktemp("home")) as appliance:
        yield appliance


@pytest.fixture(scope="module")
def client(appliance: Appliance) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{appliance.url}/v1", api_key=appliance.api_key, max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, model: str, **options: Any) -> str:
    """The text of an answer that came to its own end."""
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Describe a book as JSON."}], max_tokens=300, **options
    )
    assert answer.choices[0].finish_reason == "stop", answer
    return answer.choices[0].message.content or ""


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_small_object(client: openai.OpenAI, appliance: Appliance, temperature: float) -> None:
    text = ask(client, appliance.model, response_format=FORMAT, temperature=temperature, seed=3)
    book = json.loads(text)
    jsonschema.validate(book, BOOK)
    assert list(book) == list(BOOK["properties"])


def test_streamed_and_several(client: openai.OpenAI, appliance: Appliance) -> None:
    texts = ["", "", ""]
    with client.chat.completions.create(
        model=appliance.model,
        messages=[{"role": "user", "content": "Three books."}],
        response_format=FORMAT,
        max_tokens=300,
        n=3,
        stream=True,
    ) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
    for text in texts:
        jsonschema.validate(json.loads(text), BOOK)


def test_completions_know_it_too(appliance: Appliance) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "flags", "schema": FLAGS}}
    answer = appliance.post("/v1/completions", prompt="[", max_tokens=200, response_format=format_)
    jsonschema.validate(json.loads(answer["choices"][0]["text"]), FLAGS)


def test_a_schema_that_cannot_be_had(client: openai.OpenAI, appliance: Appliance) -> None:
    wrong: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "wrong"}}}
    with pytest.raises(openai.BadRequestError, match="Unsupported type"):
        ask(client, appliance.model, response_format=wrong)
    assert ask(client, appliance.model, response_format=FORMAT)


def test_answers_stay_what_they_are_while_groups_change(client: openai.OpenAI, appliance: Appliance) -> None:
    undisturbed = ask(client, appliance.model, response_format=FORMAT, temperature=0)
    is_over = False

    def keep_asking(seed: int) -> int:
        answers = 0
        while not is_over:
            sampled = ask(client, appliance.model, response_format=FORMAT, temperature=1.0, seed=seed)
            jsonschema.validate(json.loads(sampled), BOOK)
            assert ask(client, appliance.model, response_format=FORMAT, temperature=0) == undisturbed
            answers += 1
        return answers

    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(keep_asking, seed) for seed in range(4)]
        try:
            for share in (70, 30, 50):
                rotate = [
                    "rotate",
                    "--prefill",
                    str(share),
                    "--decode",
                    str(100 - share),
                    "--new-group",
                    "--reason",
                    "test",
                ]
                done = subprocess.run(
                    [sys.executable, "-m", "appliance", *rotate],
                    env=appliance.serve.environment,
                    capture_output=True,
                    text=True,
                    timeout=100,
                )
                assert done.returncode == 0, done.stdout + done.stderr
        finally:
            is_over = True
        assert all(one.result() for one in asking)
    assert appliance.pages_in_use == 0


def tool(name: str, parameters: dict[str, Any]) -> Any:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


FLAG_OBJECT = {"type": "object", "properties": {"flags": FLAGS}, "required": ["flags"], "additionalProperties": False}
TOOLS = [tool("add_book", BOOK), tool("set_flags", FLAG_OBJECT)]
SCHEMAS = {"add_book": BOOK, "set_flags": FLAG_OBJECT}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("choice", ["required", "set_flags"])
def test_a_call_that_is_demanded_is_made(client: openai.OpenAI, appliance: Appliance, choice: str, seed: int) -> None:
    """By a model that has never seen a tool."""
    demanded: Any = choice if choice == "required" else {"type": "function", "function": {"name": choice}}
    asked: Any = {
        "model": appliance.model,
        "messages": [{"role": "user", "content": "Do something."}],
        "max_tokens": 300,
        "tools": TOOLS,
        "tool_choice": demanded,
        "seed": seed,
    }
    (call,) = client.chat.completions.create(**asked).choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name in ([choice] if choice != "required" else SCHEMAS)
    jsonschema.validate(json.loads(call.function.arguments), SCHEMAS[call.function.name])
    deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(**asked, stream=True) if chunk.choices]
    parts = [part.function for delta in deltas for part in delta.tool_calls or [] if part.function]
    assert "".join(part.name or "" for part in parts) == call.function.name
    assert "".join(part.arguments or "" for part in parts) == call.function.arguments
