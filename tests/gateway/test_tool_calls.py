"""Tool calls found in text, however the text is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.gateway.tool_calls import (
    CallArguments,
    CallBegun,
    Content,
    HermesParser,
    LlamaParser,
    Said,
    ToolCallParser,
    tool_call_parser,
)

Heard = tuple[str, list[tuple[str, str]]]


def heard(said: list[Said]) -> Heard:
    """All content as one text, and each call with its whole arguments."""
    content, calls = "", list[list[str]]()
    for item in said:
        match item:
            case Content(text):
                content += text
            case CallBegun(call, name):
                assert call == len(calls)
                calls.append([name, ""])
            case CallArguments(call, text):
                assert call == len(calls) - 1, "arguments come with the call that was begun last"
                calls[call][1] += text
    return content, [(name, arguments) for name, arguments in calls]


def parse(parser: ToolCallParser, pieces: list[str]) -> Heard:
    said = [item for piece in pieces for item in parser.feed(piece)]
    return heard(said + parser.flush())


TWO_CALLS = """\
<tool_call>
{"name": "f", "arguments": {"q": "\\"\\\\", "l": [1, {"b": null}]}}
</tool_call>
<tool_call>
{"name": "g", "arguments": {"ü": "日本 🙂"}}
</tool_call> after"""
HERMES: list[tuple[str, Heard]] = [
    ("", ("", [])),
    ("Just text, 1 < 2.", ("Just text, 1 < 2.", [])),
    ("  spaces \n around \n ", ("  spaces \n around \n ", [])),
    ('<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', ("", [("f", '{"a": 1}')])),
    ('I look.\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>', ("I look.", [("f", "{}")])),
    (
        '<tool_call>{"arguments": {"a": "}</tool_call>"}, "name": "f"}</tool_call>',
        ("", [("f", '{"a": "}</tool_call>"}')]),
    ),
    (
        TWO_CALLS,
        (" after", [("f", '{"q": "\\"\\\\", "l": [1, {"b": null}]}'), ("g", '{"ü": "日本 🙂"}')]),
    ),
    ('<tool_call>{"name": "f"}</tool_call>', ("", [("f", "{}")])),
    ('<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>', ("", [("f", '{"a": 1}')])),
    ('<tool_call>{"name": "f", "arguments": null, "id": 7}</tool_call>', ("", [("f", "{}")])),
    ('<tool_call>{"id": 7, "more": [1, "]"], "name": "f", "arguments": {}}</tool_call>', ("", [("f", "{}")])),
    ('<tool_call>{"name": "f", "arguments": {}}}\n</tool_call>.', (".", [("f", "{}")])),
    ('<tool_call>{"name": "f", "arguments": {}}<tool_call>{"name": "g"}', ("", [("f", "{}"), ("g", "{}")])),
    ('<tool_call>{"name": "f", "arguments": {}}</tool', ("", [("f", "{}")])),
    ('<tool_call>{"name": "f", "arguments": {}} and so on', (" and so on", [("f", "{}")])),
    ("see <tool_call>f(1)</tool_call>", ("see <tool_call>f(1)</tool_call>", [])),
    (
        '<tool_call>{"name": 5, "arguments": {}}</tool_call>',
        ('<tool_call>{"name": 5, "arguments": {}}</tool_call>', []),
    ),
    ('<tool_call>{"name": "f", "arguments": 5}', ('<tool_call>{"name": "f", "arguments": 5}', [])),
    ('<tool_call>{"name" "f"}', ('<tool_call>{"name" "f"}', [])),
    ('<tool_call>{"na', ('<tool_call>{"na', [])),
    ('<tool_call>{"name": "f", "arguments": {"a": "cut', ("", [("f", '{"a": "cut')])),
    ("ends with <tool_", ("ends with <tool_", [])),
]
LLAMA: list[tuple[str, Heard]] = [
    ("", ("", [])),
    ("Just text {}.", ("Just text {}.", [])),
    ('{"name": "f", "parameters": {"a": 1}}', ("", [("f", '{"a": 1}')])),
    ('\n {"name": "f", "arguments": {"a": 1}} \n', ("", [("f", '{"a": 1}')])),
    ('<|python_tag|>{"name": "f", "parameters": {}}', ("", [("f", "{}")])),
    (
        '<|python_tag|>{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}}',
        ("", [("f", "{}"), ("g", "{}")]),
    ),
    ('{"type": "function", "name": "f", "parameters": {}}', ("", [("f", "{}")])),
    ("<|python_tag|>print(1)", ("print(1)", [])),
    ("<|pyth", ("<|pyth", [])),
    ('{"name": "Bob"}', ('{"name": "Bob"}', [])),
    (' {"answer": [1, 2]} is it', (' {"answer": [1, 2]} is it', [])),
    ('{"name": "f", "parameters": {}} done', (" done", [("f", "{}")])),
    ('{"name": "f", "parameters": {"a": [', ("", [("f", '{"a": [')])),
    ("{ not json", ("{ not json", [])),
]
CASES = [(HermesParser, *case) for case in HERMES] + [(LlamaParser, *case) for case in LLAMA]


@pytest.mark.parametrize(("parser", "text", "expected"), CASES)
def test_every_split_says_the_same(parser: type[ToolCallParser], text: str, expected: Heard) -> None:
    assert parse(parser(), [text]) == expected
    assert parse(parser(), list(text)) == expected
    for cut in range(len(text) + 1):
        assert parse(parser(), [text[:cut], text[cut:]]) == expected, cut


ALPHABET = [
    "<tool_call>",
    "</tool_call>",
    "<|python_tag|>",
    "<",
    "{",
    "}",
    '"',
    "\\",
    ":",
    ",",
    "[",
    "]",
    " ",
    "\n",
    "a",
]
ALPHABET += [";", "1", "null", '"name"', '"arguments"', '{"name": "f", "arguments": {"a": 1}}', '"parameters": {']


@given(data=st.data(), symbols=st.lists(st.sampled_from(ALPHABET), max_size=12))
@pytest.mark.parametrize("parser", [HermesParser, LlamaParser])
def test_any_text_in_any_pieces(parser: type[ToolCallParser], data: st.DataObject, symbols: list[str]) -> None:
    text = "".join(symbols)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert parse(parser(), pieces) == parse(parser(), [text])


@given(arguments=st.dictionaries(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists), max_size=4))
@pytest.mark.parametrize(
    ("parser", "form"), [(HermesParser, "<tool_call>\n%s\n</tool_call>"), (LlamaParser, "%s")], ids=["hermes", "llama"]
)
def test_any_arguments_arrive(parser: type[ToolCallParser], form: str, arguments: dict[str, object]) -> None:
    call = json.dumps({"name": "f", "arguments": arguments}, ensure_ascii=False)
    content, [(name, text)] = parse(parser(), list(form % call))
    assert (content, name, json.loads(text)) == ("", "f", arguments)


def test_arguments_are_passed_on_before_the_call_is_complete() -> None:
    parser = HermesParser()
    assert parser.feed('<tool_call>{"name": "f", "argu') == []
    assert parser.feed('ments": {"city": "Par') == [CallBegun(0, "f"), CallArguments(0, '{"city": "Par')]
    assert parser.feed("is") == [CallArguments(0, "is")]


def test_text_is_held_back_no_longer_than_it_may_begin_a_call() -> None:
    parser = HermesParser()
    assert parser.feed("a <") == [Content("a")]
    assert parser.feed("tool") == []
    assert parser.feed("s> b") == [Content(" <tools> b")]


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        (HermesParser, '<tool_call>{"name": "f"}</tool_call><tool_call>{"name": "g", "arguments": {}}</tool_call>'),
        (LlamaParser, '{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}}'),
    ],
)
def test_calls_beyond_the_most_are_dropped(parser: type[ToolCallParser], text: str) -> None:
    assert parse(parser(1), list(text)) == ("", [("f", "{}")])


def test_a_call_that_is_nested_deeply_does_not_recurse() -> None:
    depth = 100_000
    arguments = '{"a": ' + "[" * depth + "]" * depth + "}"
    text = '<tool_call>{"name": "f", "arguments": ' + arguments + "}</tool_call>"
    assert parse(HermesParser(), [text]) == ("", [("f", arguments)])


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        ("return a json object within <tool_call></tool_call> tags", HermesParser),
        ('Respond in the format {"name": function name, "parameters": dictionary}', LlamaParser),
        ("<tool_call><function=name><parameter=a>", None),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", None),
    ],
)
def test_the_format_is_read_from_the_template(template: str, parser: type[ToolCallParser] | None) -> None:
    assert tool_call_parser(template) is parser
