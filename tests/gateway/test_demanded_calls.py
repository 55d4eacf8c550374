"""The schema of a call that the model must make."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.errors import InvalidRequest
from engine.gateway.chat_schema import ChatRequest
from engine.gateway.schema import parse
from engine.gateway.structure import call_schema
from engine.grammar.schema import ANY_OBJECT, checked


def tool(name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name} | ({"parameters": parameters} if parameters else {})}


def test_one_tool_is_one_object() -> None:
    schema = call_schema([tool("f")])
    assert schema["properties"] == {"name": {"const": "f"}, "parameters": ANY_OBJECT}
    assert checked(schema)


def test_definitions_move_to_the_root() -> None:
    point = {
        "type": "object",
        "properties": {"x": {"type": "integer"}},
        "required": ["x"],
        "additionalProperties": False,
    }
    parameters = {
        "type": "object",
        "properties": {"at": {"$ref": "#/$defs/Point"}},
        "required": ["at"],
        "additionalProperties": False,
        "$defs": {"Point": point},
    }
    schema = call_schema([tool("f", parameters), tool("g", parameters)])
    assert schema["$defs"] == {"Point": point}
    assert all("$defs" not in call["properties"]["parameters"] for call in schema["anyOf"])
    assert checked(schema)


@pytest.mark.parametrize("definitions", [[], 1, "T"])
def test_definitions_must_be_an_object(definitions: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"The '\$defs' of the tool 'f' must be an object"):
        call_schema([tool("f", {"type": "object", "$defs": definitions})])


def test_definitions_of_one_name_must_agree() -> None:
    tools = [
        tool(name, {"type": "object", "$defs": {"T": {"type": kind}}})
        for name, kind in [("f", "string"), ("g", "null")]
    ]
    with pytest.raises(InvalidRequest, match="Two tools define 'T' differently"):
        call_schema(tools)


@pytest.mark.parametrize(
    ("choice", "demanded"),
    [
        ("none", []),
        ("auto", []),
        ("required", ["f", "g"]),
        ({"type": "function", "function": {"name": "g"}}, ["g"]),
    ],
)
def test_which_tools_are_demanded(choice: Any, demanded: list[str]) -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [tool("f"), tool("g")],
        "tool_choice": choice,
    }
    asked = parse(ChatRequest, msgspec.json.encode(body))
    assert [tool["function"]["name"] for tool in asked.demanded_tools] == demanded
