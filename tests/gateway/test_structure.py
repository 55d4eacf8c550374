"""`response_format`: what the engine is told, what is refused in which words, and a gateway that lives through it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.gateway.tokenizer import TextTokenizer
from engine.grammar import compiler, library
from engine.grammar.grammars import Grammars
from engine.wire.to_scheduler import Submit
from tests.gateway.stand import MODEL, Stand
from tests.gateway.tiny_model import save_tiny_model
from tests.gateway.tool_models import HERMES_TEMPLATE

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
SLOW = {
    "type": "object",
    "properties": {
        name: {"type": "string", "pattern": f"^({name}{{1,400}}b{{1,400}}c{{0,400}}){{1,400}}[a-z]{{3,900}}$"}
        for name in "defghijk"
    },
    "additionalProperties": False,
}
"""Eight patterns of about a second each on a quick machine."""


@pytest.fixture(scope="module")
def grammars(model_path: Path) -> Grammars:
    found = Grammars.of_model(model_path)
    assert found is not None
    return found


def json_schema(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **more}}


def submitted_grammar(stand: Stand) -> bytes | None:
    return stand.scheduler.expect(Submit).request.sampling.grammar


@pytest.mark.parametrize("endpoint", ["chat", "complete"])
def test_the_engine_is_told_a_grammar(stand: Stand, model_path: Path, grammars: Grammars, endpoint: str) -> None:
    answer = getattr(stand, endpoint)(response_format=json_schema(PERSON, strict=True))
    assert answer.status_code == 200, answer.text
    grammar = submitted_grammar(stand)
    assert grammar is not None
    tokenizer = TextTokenizer.load(model_path)
    text = '{"name": "naïve", "age": 7}'
    complete = grammars.matcher(grammar, tokenizer.encode(text, add_special_tokens=False))
    assert not complete.is_stuck
    bits = "".join(f"{word & 0xFFFFFFFF:032b}"[::-1] for word in complete.allowed.tolist())
    assert [token_id for token_id, bit in enumerate(bits) if bit == "1"] == [1, 2], "the model's two end tokens"


def test_any_object_and_free_text(stand: Stand) -> None:
    assert stand.chat(response_format={"type": "json_object"}).status_code == 200
    assert submitted_grammar(stand)
    for free in ({"type": "text"}, None, {"type": "text", "json_schema": {"name": "x", "schema": PERSON}}):
        assert stand.chat(response_format=free).status_code == 200
        assert submitted_grammar(stand) is None


def test_all_choices_keep_to_it(stand: Stand) -> None:
    assert stand.chat(response_format=json_schema(PERSON), n=3).status_code == 200
    grammars = {submitted_grammar(stand) for _ in range(3)}
    assert len(grammars) == 1 and None not in grammars


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"response_format": {"type": "xml"}}, "response_format.type", "'text', 'json_object' or 'json_schema'"),
    ({"response_format": {"type": "json_schema"}}, "response_format", "needs the field json_schema"),
    ({"response_format": json_schema([1])}, "response_format.json_schema.schema", "dictionary"),
    ({"response_format": json_schema({"not": {}})}, "response_format", "'not' cannot be kept to"),
    ({"response_format": json_schema({"type": "what"})}, "response_format", 'Unsupported type "what"'),
    ({"response_format": json_schema({"type": "string", "pattern": "("})}, "response_format", "parenthesis"),
    ({"response_format": json_schema({"type": 5})}, "response_format", "must be a type or a list of types"),
    ({"response_format": json_schema({"type": None})}, "response_format", "must be a type or a list of types"),
    ({"response_format": json_schema(PERSON), "min_tokens": 2}, "min_tokens", "ends where it is complete"),
    ({"response_format": json_schema(PERSON), "ignore_eos": True}, "ignore_eos", "ends where it is complete"),
]


@pytest.mark.parametrize(("fields", "param", "words"), REFUSED, ids=str)
def test_refused_with_a_sentence(stand: Stand, fields: dict[str, Any], param: str, words: str) -> None:
    answer = stand.chat(**fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert words in error["message"] and error["message"].endswith(".")


def test_too_deep_and_too_large(stand: Stand) -> None:
    nested: dict[str, Any] = {"type": "null"}
    for _ in range(200):
        nested = {"type": "array", "items": nested}
    deep = stand.chat(response_format=json_schema(nested))
    assert deep.status_code == 400
    assert "nested more than 64 levels deep." in deep.json()["error"]["message"]
    assert stand.chat(response_format=json_schema(PERSON)).status_code == 200


@pytest.fixture
def hasty_stand(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    monkeypatch.setattr(compiler, "COMPILE_SECONDS", 2.0)
    with Stand(model_path) as stand:
        stand.says("Hello")
        yield stand


def test_the_gateway_lives_through_a_schema_that_takes_too_long(hasty_stand: Stand) -> None:
    hasty_stand.scheduler.is_held = True
    body = {"model": MODEL, "prompt": "Hi", "stream": True}
    with hasty_stand.client.stream("POST", "/v1/completions", json=body) as stream:
        hasty_stand.scheduler.expect(Submit)
        slow = hasty_stand.chat(response_format=json_schema(SLOW))
        assert slow.status_code == 400
        assert slow.json()["error"]["message"] == "The schema takes longer than 2 s to compile."
        assert hasty_stand.client.get("/v1/health/live").status_code == 200
        hasty_stand.scheduler.is_held = False
        hasty_stand.scheduler.step()
        stream.read()
        assert "[DONE]" in stream.text
    assert hasty_stand.chat(response_format=json_schema(PERSON)).status_code == 200


def test_without_xgrammar_it_is_not_served(hasty_stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    assert library.is_installed()
    monkeypatch.setattr(compiler, "is_installed", lambda: False)
    answer = hasty_stand.chat(response_format={"type": "json_object"})
    assert answer.status_code == 400
    assert "not installed" in answer.json()["error"]["message"]
    assert hasty_stand.chat().status_code == 200


def test_a_format_and_tools_exclude_each_other(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", HERMES_TEMPLATE, ["<tool_call>"])
    asked = {
        "response_format": json_schema(PERSON),
        "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}],
    }
    with Stand(model) as stand:
        stand.says("Hello")
        both = stand.chat(**asked)
        assert both.status_code == 400
        assert both.json()["error"]["message"].startswith("An answer of a given format cannot call tools")
        assert stand.chat(**asked, tool_choice="none").status_code == 200
