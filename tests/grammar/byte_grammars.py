"""Grammars over a vocabulary of one token a byte and an end, and schemas to make them from."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

import numpy as np

from engine.grammar.compiling import SchemaCompiler
from engine.grammar.grammars import Grammars
from engine.grammar.matcher import WORD_BITS, Matcher
from engine.grammar.schema import checked
from engine.grammar.vocabulary import Vocabulary

END = 256
SIZE = 261
"""Four more than there are tokens: padded, as real ones are."""


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary([bytes([byte]) for byte in range(256)] + [b""], SIZE, [END])


@cache
def _compiler() -> SchemaCompiler:
    return SchemaCompiler(vocabulary())


def grammars() -> Grammars:
    """A worker's store, with nothing in it."""
    return Grammars(vocabulary())


def grammar(schema: dict[str, Any]) -> bytes:
    """A schema that must be possible, as requests carry it."""
    compiled = _compiler().compile(checked(schema))
    assert not compiled.problem, compiled.problem
    return compiled.grammar


def problem(schema: dict[str, Any]) -> str:
    """What the compiler says against a schema."""
    return _compiler().compile(json.dumps(schema).encode()).problem


def allowed_ids(matcher: Matcher) -> list[int]:
    words = matcher.allowed.view(np.uint32)
    return [number for number in range(len(words) * WORD_BITS) if words[number // WORD_BITS] >> number % WORD_BITS & 1]


def random_schema(source: random.Random, depth: int = 2) -> dict[str, Any]:
    """One whose texts are all short."""
    simple = [
        {"type": "boolean"},
        {"type": ["null", "boolean"]},
        {"enum": ["red", "grün", 3, None, {"deep": [1]}]},
        {"const": 'a "quoted" word'},
        {"type": "string", "maxLength": source.randint(0, 4)},
        {"type": "string", "minLength": 2, "maxLength": 3},
        {"type": "string", "pattern": "^[a-c]{1,3}-[0-9]$"},
        {"type": "string", "format": "date"},
        {"type": "integer", "minimum": -source.randint(0, 50), "maximum": source.randint(0, 1000)},
    ]
    if depth == 0:
        return source.choice(simple)
    inner = [random_schema(source, depth - 1) for _ in range(source.randint(1, 3))]
    names = source.sample(["name", "größe", 'k"', "id", "_"], len(inner))
    return source.choice(
        [
            source.choice(simple),
            {"anyOf": inner},
            {"type": "array", "items": inner[0], "minItems": 1, "maxItems": 3},
            {"type": "array", "prefixItems": inner, "items": False, "minItems": len(inner)},
            {
                "type": "object",
                "properties": dict(zip(names, inner, strict=True)),
                "required": names[: source.randint(0, len(names))],
                "additionalProperties": False,
            },
        ]
    )


def random_answer(matcher: Matcher, source: random.Random, most: int = 2000) -> list[int]:
    """Tokens drawn evenly from those that are allowed, the end not among them."""
    output: list[int] = []
    while (token_id := source.choice(allowed_ids(matcher))) != END:
        output.append(token_id)
        matcher.advance(token_id)
        assert len(output) < most, bytes(output)
    return output
