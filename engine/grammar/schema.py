"""Which JSON schemas are taken: bounded ones, in which every keyword is one that the grammar keeps to.

xgrammar passes over much of what it does not know, without a word or with a warning. A client that asks for a schema
shall get text that is valid by it, or be told what cannot be had. The one leniency: a `oneOf` is read as `anyOf`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from engine.errors import InvalidRequest

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 64
"""Objects and arrays within one another, in the schema's own text; `$ref` may go round."""

ANY_OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": True}
"""What `json_object` asks for."""

_ALTERNATIVES = frozenset({"$ref", "anyOf", "oneOf", "allOf"})
_CHOICES = frozenset({"enum", "const"})
_LIMITS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_LENGTHS = frozenset({"minLength", "maxLength"})
_KEYWORDS_OF = {
    "string": _LENGTHS | {"pattern", "format"},
    "number": _LIMITS,
    "integer": _LIMITS,
    "boolean": frozenset[str](),
    "null": frozenset[str](),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "object": frozenset(
        {
            "properties",
            "required",
            "additionalProperties",
            "patternProperties",
            "propertyNames",
            "minProperties",
            "maxProperties",
        }
    ),
}
_KEPT = frozenset({"type"}) | _ALTERNATIVES | _CHOICES | frozenset[str]().union(*_KEYWORDS_OF.values())
_NOT_KEPT = frozenset(
    {
        "not",
        "if",
        "then",
        "else",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "contains",
        "minContains",
        "maxContains",
        "uniqueItems",
        "multipleOf",
        "unevaluatedItems",
        "unevaluatedProperties",
        "additionalItems",
        "$dynamicRef",
        "$recursiveRef",
    }
)
_HOLD_SCHEMAS_BY_NAME = ("properties", "patternProperties", "$defs", "definitions")
_HOLD_ANYTHING = ("enum", "const", "default", "examples")
_NEEDS_ESCAPE = re.compile(r'["\x00-\x1f]|\\[\\nrtfv0xuc]')
"""What a pattern names literally and JSON writes otherwise; classes that merely contain it are fine."""


def checked(schema: dict[str, Any]) -> bytes:
    """The schema as JSON, in which properties keep their order. Raises `InvalidRequest`."""
    _check_depth(schema)
    text = msgspec.json.encode(schema)
    if len(text) > MAX_SCHEMA_BYTES:
        raise InvalidRequest(f"The schema has {len(text)} bytes of JSON, more than {MAX_SCHEMA_BYTES}.")
    for subschema in _subschemas(schema):
        _check(subschema)
    return text


def _check_depth(schema: dict[str, Any]) -> None:
    """Level by level, for a schema may be nested more deeply than functions may call themselves."""
    level: list[Any] = [schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        level = [inner for value in level for inner in _within(value) if isinstance(inner, dict | list)]
        if not level:
            return
    raise InvalidRequest(f"The schema is nested more than {MAX_SCHEMA_DEPTH} levels deep.")


def _within(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and all in it. Names of properties are no keywords, and neither is what stands in examples."""
    if isinstance(schema, list):
        for item in schema:
            yield from _subschemas(item)
    elif isinstance(schema, dict):
        yield schema
        for keyword, value in schema.items():
            if keyword in _HOLD_SCHEMAS_BY_NAME and isinstance(value, dict):
                for named in value.values():
                    yield from _subschemas(named)
            elif keyword not in _HOLD_ANYTHING:
                yield from _subschemas(value)


def _check(schema: dict[str, Any]) -> None:
    """One schema, without those in it. What is malformed in other ways, the compiler refuses."""
    keywords = schema.keys() & _KEPT
    for keyword in sorted(schema.keys() & _NOT_KEPT):
        if schema[keyword] is not False:
            raise InvalidRequest(f"The keyword {keyword!r} cannot be kept to here; leave it out.")
    alternatives, choices = keywords & _ALTERNATIVES, keywords & _CHOICES
    if alternatives:
        _check_stands_alone(keywords, *alternatives)
        _check_alternatives(schema)
    elif choices:
        _check_stands_alone(keywords - {"type"}, *choices)
        _check_choices(schema)
    else:
        _check_types(schema, keywords - {"type"})
        _check_text(schema)
        _check_properties(schema)
        _check_counts(schema)


def _check_stands_alone(keywords: set[str], keyword: str, *_: str) -> None:
    others = sorted(keywords - {keyword})
    if others:
        raise InvalidRequest(f"The keyword {others[0]!r} beside {keyword!r} cannot be kept to here; write them as one.")


def _check_alternatives(schema: dict[str, Any]) -> None:
    reference = schema.get("$ref", "#")
    if not (isinstance(reference, str) and reference.startswith("#")):
        raise InvalidRequest("A $ref must point into the schema itself, as in '#/$defs/name'.")
    for keyword in ("anyOf", "oneOf", "allOf"):
        if schema.get(keyword) == []:
            raise InvalidRequest(f"The list of {keyword} must not be empty.")
    if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) > 1:
        raise InvalidRequest("An allOf of more than one schema cannot be kept to here; write them as one.")


def _check_choices(schema: dict[str, Any]) -> None:
    values = schema.get("enum", [schema.get("const")])
    types = _types(schema)
    if types and isinstance(values, list) and not all(_type(value) & types for value in values):
        raise InvalidRequest("A value of enum or const is not of the type beside it.")


def _check_types(schema: dict[str, Any], keywords: set[str]) -> None:
    """A keyword without its type would bind nothing but values of that type. `properties` and `items` imply theirs."""
    types = _types(schema)
    if not types and "type" in schema:
        raise InvalidRequest("The type must be a type or a list of types.")
    implied = {"object"} if "properties" in schema else {"array"} if "items" in schema else set[str]()
    bound = frozenset[str]().union(*(_KEYWORDS_OF.get(type_, frozenset()) for type_ in types or implied))
    for keyword in sorted(keywords - bound):
        raise InvalidRequest(f"The keyword {keyword!r} cannot be kept to here without a type that it belongs to.")
    if "array" in types and not schema.keys() & {"items", "prefixItems"}:
        raise InvalidRequest("An array must say what its items are; 'items': true is anything.")


def _check_text(schema: dict[str, Any]) -> None:
    kinds = [bool(schema.keys() & kind) for kind in (_LENGTHS, {"pattern"}, {"format"})]
    if sum(kinds) > 1:
        raise InvalidRequest("A string can have a pattern, a format or a length here, only one of them.")
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and _NEEDS_ESCAPE.search(pattern):
        raise InvalidRequest(
            "A pattern cannot name quotation marks, backslashes, control characters or code points here."
        )


def _check_properties(schema: dict[str, Any]) -> None:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if isinstance(required, list) and isinstance(properties, dict):
        for name in required:
            if not isinstance(name, str) or name not in properties:
                raise InvalidRequest(f"The property {name!r} is required, but it is not among the properties.")
    by_name = sorted(schema.keys() & {"patternProperties", "propertyNames"})
    if by_name and properties:
        raise InvalidRequest(f"The keyword {by_name[0]!r} beside 'properties' cannot be kept to here; leave one out.")
    if "minProperties" in schema and (by_name or schema.get("additionalProperties", False) is not False):
        raise InvalidRequest("The keyword 'minProperties' can be kept to here only where all properties are listed.")


def _check_counts(schema: dict[str, Any]) -> None:
    for keyword in ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"):
        if isinstance(schema.get(keyword), int | float) and schema[keyword] < 0:
            raise InvalidRequest(f"The keyword {keyword!r} counts, so it must not be negative.")


def _types(schema: dict[str, Any]) -> set[str]:
    types = schema.get("type", [])
    return {type_ for type_ in (types if isinstance(types, list) else [types]) if isinstance(type_, str)}


def _type(value: Any) -> set[str]:
    """The types a value is of: a whole number is of two."""
    match value:
        case bool():
            return {"boolean"}
        case int():
            return {"integer", "number"}
        case float():
            return {"number"}
        case str():
            return {"string"}
        case None:
            return {"null"}
        case list():
            return {"array"}
        case _:
            return {"object"}
