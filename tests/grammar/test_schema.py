"""Which schemas are refused, and in which words; what is taken is kept to."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import InvalidRequest
from engine.grammar.schema import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, checked
from tests.grammar.byte_grammars import grammar, problem

TEXT = {"type": "string"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"not": TEXT}, "'not' cannot be kept to"),
    ({"type": "array", "items": TEXT, "uniqueItems": True}, "'uniqueItems' cannot be kept to"),
    ({"type": "integer", "multipleOf": 3}, "'multipleOf' cannot be kept to"),
    ({"anyOf": [TEXT], "minimum": 3}, "'minimum' beside 'anyOf'"),
    ({"$ref": "#/$defs/s", "maxLength": 2, "$defs": {"s": TEXT}}, "'maxLength' beside '\\$ref'"),
    ({"$ref": "https://example.org/schema"}, "must point into the schema itself"),
    ({"anyOf": []}, "must not be empty"),
    ({"allOf": [TEXT, {"type": "integer"}]}, "allOf of more than one"),
    ({"type": "integer", "enum": [1, 2], "minimum": 2}, "'minimum' beside 'enum'"),
    ({"type": "string", "enum": ["a", 3]}, "not of the type beside it"),
    ({"type": "integer", "const": True}, "not of the type beside it"),
    ({"minimum": 3}, "'minimum' cannot be kept to here without a type"),
    ({"required": ["a"]}, "'required' cannot be kept to here without a type"),
    ({"type": "string", "minimum": 3}, "'minimum' cannot be kept to here without a type"),
    ({"type": []}, "must be a type"),
    ({"type": "array"}, "must say what its items are"),
    ({"type": "string", "pattern": "a", "maxLength": 3}, "only one of them"),
    ({"type": "string", "pattern": '"'}, "cannot name quotation marks"),
    ({"type": "string", "pattern": "a\\n"}, "cannot name quotation marks"),
    ({"type": "string", "maxLength": -1}, "must not be negative"),
    ({"type": "object", "properties": {"a": TEXT}, "required": ["a", "b"]}, "'b' is required, but"),
    ({"type": "object", "properties": {"a": TEXT}, "patternProperties": {"a": TEXT}}, "beside 'properties'"),
    ({"type": "object", "additionalProperties": TEXT, "minProperties": 2}, "only where all properties are listed"),
    ({"properties": {"deep": {"items": {"not": {}}}}}, "'not' cannot be kept to"),
    ({"$defs": {"not": {"type": "string", "pattern": "a", "format": "date"}}}, "only one of them"),
]


@pytest.mark.parametrize(("schema", "words"), REFUSED, ids=[str(schema) for schema, _ in REFUSED])
def test_what_the_grammar_would_pass_over_is_refused(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as refused:
        checked(schema)
    assert refused.value.message.endswith(".")


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"not": TEXT, "if": {"items": {"type": "integer"}}}, "required": ["not"]},
        {"type": "string", "enum": ["a", "b"], "title": "T", "description": "D", "default": "a", "x-own": 1},
        {"const": {"not": 1, "if": 2}, "examples": [{"uniqueItems": True}]},
        {"type": "array", "items": True, "uniqueItems": False},
        {"type": "number", "enum": [1, 2.5]},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {}},
        {"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/n"}}, TEXT]}}},
        {"type": ["string", "null"], "maxLength": 5},
    ],
    ids=str,
)
def test_what_can_be_kept_to_is_taken(schema: dict[str, Any]) -> None:
    assert grammar(schema)


def test_a_schema_is_bounded_in_depth_and_size() -> None:
    nested: dict[str, Any] = TEXT
    for _ in range(100_000):
        nested = {"type": "array", "items": nested}
    with pytest.raises(InvalidRequest, match=f"nested more than {MAX_SCHEMA_DEPTH} levels"):
        checked(nested)
    with pytest.raises(InvalidRequest, match=f"bytes of JSON, more than {MAX_SCHEMA_BYTES}"):
        checked({"enum": ["x" * MAX_SCHEMA_BYTES]})


def test_properties_keep_their_order() -> None:
    text = checked({"type": "object", "properties": {"z": TEXT, "a": TEXT}})
    assert text.index(b'"z"') < text.index(b'"a"')


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string", "pattern": "("}, "cannot be compiled: Regex parsing error"),
        ({"type": "strin"}, 'cannot be compiled: Unsupported type "strin"'),
        ({"$ref": "#/$defs/none"}, "cannot be compiled: Cannot find field"),
        ({"type": "string", "pattern": "(?=a)b"}, "cannot be kept to here: Lookahead assertion is not supported"),
        ({"$ref": "#"}, "No text is valid by this schema"),
    ],
    ids=str,
)
def test_what_the_compiler_says_is_passed_on(schema: dict[str, Any], words: str) -> None:
    assert words in problem(schema)
    assert ".cc" not in problem(schema) and "Check failed" not in problem(schema)
