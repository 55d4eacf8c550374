"""What a matcher allows is what the schema says, wherever it was made."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.grammar.matcher import Matcher
from engine.grammar.schema import ANY_OBJECT
from tests.grammar.byte_grammars import END, SIZE, allowed_ids, grammar, grammars, random_answer, random_schema

PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer"}, "ok": {"type": "boolean"}},
    "required": ["age", "ok"],
}


def matcher_of(schema: dict[str, Any], output: bytes = b"") -> Matcher:
    return grammars().matcher(grammar(schema), list(output))


def allowed_bytes(matcher: Matcher) -> bytes:
    return bytes(token_id for token_id in allowed_ids(matcher) if token_id < END)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"", b"{"),
        (b"{", b'"'),
        (b'{"', b"a"),
        (b'{"age":', b" "),
        (b'{"age": ', b"-0123456789"),
        (b'{"age": 0', b","),
        (b'{"age": 12, "ok": ', b"ft"),
        (b'{"age": 12, "ok": tru', b"e"),
    ],
)
def test_what_comes_next(output: bytes, expected: bytes) -> None:
    matcher = matcher_of(PERSON, output)
    assert allowed_bytes(matcher) == expected
    assert END not in allowed_ids(matcher)


def test_a_complete_text_can_only_end() -> None:
    matcher = matcher_of(PERSON, b'{"age": 12, "ok": true}')
    assert allowed_ids(matcher) == [END]
    matcher.advance(END)
    assert allowed_ids(matcher) == [END]


def test_a_number_at_the_top_may_go_on_or_end() -> None:
    assert set(allowed_ids(matcher_of({"type": "integer"}, b"1"))) == {*b"0123456789", END}


def test_any_object_is_an_object() -> None:
    assert allowed_bytes(matcher_of(ANY_OBJECT)) == b"{"
    assert set(b'"}') == set(allowed_bytes(matcher_of(ANY_OBJECT, b"{")))
    assert END in allowed_ids(matcher_of(ANY_OBJECT, b'{"a": [1, {"b": null}]}'))


def test_a_token_that_was_not_allowed_leaves_only_the_end() -> None:
    matcher = matcher_of(PERSON, b'{"age": ')
    matcher.advance(ord("x"))
    assert allowed_ids(matcher) == [END]
    matcher.advance(ord("1"))
    assert allowed_ids(matcher) == [END]


def test_tokens_that_the_tokenizer_does_not_have_are_never_allowed() -> None:
    matcher = matcher_of({"type": "string"}, b'"')
    assert max(allowed_ids(matcher)) < END
    assert matcher.allowed.dtype == np.int32 and len(matcher.allowed) == -(-SIZE // 32)


def test_no_control_characters_in_strings_of_bounded_length() -> None:
    assert min(allowed_bytes(matcher_of({"type": "string", "maxLength": 3}, b'"'))) >= ord(" ")


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_every_answer_is_valid_and_a_matcher_made_after_any_prefix_is_the_same(seed: int) -> None:
    source = random.Random(seed)
    schema = random_schema(source)
    packed, store = grammar(schema), grammars()
    output = random_answer(store.matcher(packed, []), source)
    jsonschema.validate(json.loads(bytes(output)), schema)
    advanced = store.matcher(packed, [])
    for number, token_id in enumerate(output):
        rebuilt = grammars().matcher(packed, output[:number])
        assert np.array_equal(advanced.allowed, rebuilt.allowed)
        assert token_id in allowed_ids(rebuilt)
        advanced.advance(token_id)


def test_a_grammar_that_many_requests_share_is_unpacked_once() -> None:
    store, packed = grammars(), grammar(PERSON)
    one, other = store.matcher(packed, list(b'{"age": 1')), store.matcher(bytes(bytearray(packed)), [])
    assert len(store._unpacked) == 1
    assert allowed_bytes(one) != allowed_bytes(other)
