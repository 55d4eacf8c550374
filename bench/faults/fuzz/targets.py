"""The parsers of what strangers write: checkpoints, templates, schemas, requests, models' own words, streams."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import torch

from bench.answer_reader import AnswerReader
from bench.faults.fuzz.bytes_reader import BytesReader
from bench.faults.fuzz.target import Target
from bench.faults.whole_reader import WholeReader
from bench.record import Record
from engine.config import DEMO_MODEL
from engine.errors import CannotStart, InvalidRequest
from engine.gateway.chat_schema import ChatRequest
from engine.gateway.chat_template import ChatTemplate
from engine.gateway.generation_schema import CompletionRequest
from engine.gateway.schema import parse
from engine.gateway.sse import event
from engine.gateway.stop_strings import StopStrings
from engine.gateway.structure import call_schema
from engine.gateway.template_messages import Render, Rendered
from engine.gateway.token_schema import DetokenizeRequest, TokenizeRequest
from engine.gateway.tool_calls import HermesParser, LlamaParser, Said
from engine.grammar.compiling import SchemaCompiler
from engine.grammar.schema import checked
from engine.grammar.vocabulary import Vocabulary
from engine.model.checkpoint import INDEX, SINGLE, load_checkpoint
from engine.model.layout import Layout, Part, Weight, pack

LENGTH = struct.Struct("<Q")


class CheckpointTarget(Target):
    """A safetensors file or an index: its weights arrive, or `CannotStart` says why not."""

    _LAYOUT: Layout = {"norm": Weight((4,), (Part("a", 4),)), "both": Weight((3, 2), (Part("b", 1), Part("c", 2)))}
    _HEADER = {
        "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        "b": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [16, 20]},
        "c": {"dtype": "F16", "shape": [2, 2], "data_offsets": [20, 28]},
        "__metadata__": {"format": "pt"},
    }
    _WORDS = (
        *"abc",
        *_HEADER["a"],
        "F32",
        "BF16",
        "F16",
        "F64",
        "I64",
        "F8_E4M3",
        "__metadata__",
        "weight_map",
        SINGLE,
    )
    _INDEX = {"weight_map": dict.fromkeys("abc", SINGLE)}

    def feed(self, data: bytes) -> None:
        reader = BytesReader(data)
        (self._folder / INDEX).unlink(missing_ok=True)
        if reader.number(4) == 1:
            index = reader.changed(self._INDEX, self._WORDS)
            (self._folder / INDEX).write_bytes(json.dumps(index).encode())
        (self._folder / SINGLE).write_bytes(self._file(reader))
        packed = pack(self._LAYOUT, "float32")
        with suppress(CannotStart):
            load_checkpoint(self._folder, torch.zeros(packed.nbytes, dtype=torch.uint8), self._LAYOUT, "float32")

    def _file(self, reader: BytesReader) -> bytes:
        match reader.number(4):
            case 0:
                header = json.dumps(reader.changed(self._HEADER, self._WORDS)).encode()
                return LENGTH.pack(len(header)) + header + bytes(28)
            case 1:
                header = json.dumps(reader.changed(self._HEADER, self._WORDS)).encode()
                return LENGTH.pack(max(0, len(header) + reader.number(9) - 4)) + header + bytes(reader.number(40))
            case 2:
                return reader.take(8).ljust(8, b"\xff") + json.dumps(self._HEADER).encode() + bytes(28)
            case _:
                return reader.rest()


class TemplateTarget(Target):
    """Messages for the demo model's template, and templates of strangers: text, or the template's own refusal."""

    _WORDS = ("role", "content", "user", "tool", "tool_calls", "function", "name", "arguments", "parameters", "type")
    _PARTS = (
        *("{{ ", " }}", "{% ", " %}", "{%- ", " -%}", "{# ", " #}", "messages", "message", "tools", "for ", " in "),
        *("if ", "else", "elif ", "endif", "endfor", "set ", " = ", "macro ", "endmacro", "endset", "loop.index"),
        *(
            "| tojson",
            "| join",
            "| length",
            "| default('')",
            "| map('x')",
            "| sort",
            "| batch(3)",
            "(",
            ")",
            "[0]",
            ".",
        ),
        *("['content']", "''", "'a' * 99", " ~ ", "raise_exception('no')", "strftime_now('%Y')", "namespace(a=1)", "1"),
        *("__class__", "range(9)", "generation", "endgeneration", "break", "continue", "none", "true", "\n", " ", "%c"),
    )

    def __init__(self, folder: Path):
        super().__init__(folder)
        template = ChatTemplate.load(DEMO_MODEL)
        assert template is not None
        self._demo = template

    def feed(self, data: bytes) -> None:
        reader = BytesReader(data)
        template = self._demo if reader.number(2) else self._strange(reader)
        order = Render(
            messages=[reader.fields(self._WORDS, 4) for _ in range(reader.number(4))],
            tools=[reader.fields(self._WORDS, 4) for _ in range(reader.number(3))],
            more=reader.fields(self._WORDS, 3),
            is_open=True,
            most_characters=5000,
        )
        if template is None:
            return
        with suppress(InvalidRequest):
            text = template.render(order.messages, order.tools, order.more, most_characters=order.most_characters)
            msgspec.json.encode(Rendered(text))  # so it goes to the gateway

    def _strange(self, reader: BytesReader) -> ChatTemplate | None:
        """From a model directory, in a file of its own or among the tokenizer's settings."""
        source = "".join(reader.one_of(self._PARTS) for _ in range(reader.number(120)))
        own, among = self._folder / "chat_template.jinja", self._folder / "tokenizer_config.json"
        own.unlink(missing_ok=True)
        among.unlink(missing_ok=True)
        match reader.number(4):
            case 0 | 1:
                own.write_text(source)
            case 2:
                named = {"bos_token": "<s>", "chat_template": [{"name": "default", "template": source}]}
                among.write_text(json.dumps(reader.changed(named, (*named, "name", "template", "default"))))
            case _:
                reader.one_of((own, among)).write_bytes(reader.rest())
        try:
            return ChatTemplate.load(self._folder)
        except CannotStart:
            return None


_KEYWORDS = (
    *("type", "properties", "required", "additionalProperties", "items", "prefixItems", "enum", "const", "anyOf"),
    *("oneOf", "allOf", "$ref", "$defs", "definitions", "pattern", "format", "minLength", "maxLength", "minimum"),
    *("maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("patternProperties", "propertyNames", "not", "if", "uniqueItems", "multipleOf", "default", "description"),
    *("object", "array", "string", "number", "integer", "boolean", "null", "date", "email", "uuid", "a", "b", "#"),
    *("#/$defs/a", "#/properties/a", "^[a-z]+$", "(a|b)*", "[", "a{2,99}", "(a+)+$", r"\d", "."),
)


class SchemaTarget(Target):
    """A JSON schema: a grammar, or a sentence that says why not."""

    _SCHEMA = {
        "type": "object",
        "properties": {"a": {"type": "string", "maxLength": 5}, "b": {"type": "array", "items": {"$ref": "#/$defs/a"}}},
        "required": ["a"],
        "additionalProperties": False,
        "$defs": {"a": {"type": "integer", "minimum": 1, "maximum": 9}},
    }

    def __init__(self, folder: Path):
        super().__init__(folder)
        pieces = [bytes([byte]) for byte in range(256)] + [b""]
        self._compiler = SchemaCompiler(Vocabulary(pieces, len(pieces), [256]))

    def feed(self, data: bytes) -> None:
        reader = BytesReader(data)
        schema = reader.changed(self._SCHEMA, _KEYWORDS) if reader.number(2) else reader.fields(_KEYWORDS)
        if not isinstance(schema, dict):
            return
        with suppress(InvalidRequest):
            text = checked(schema)
            compiled = self._compiler.compile(text)
            assert compiled.problem or compiled.grammar
            msgspec.msgpack.encode(compiled)  # so it goes to the gateway


class RequestTarget(Target):
    """The body of a request: what the endpoint goes on with, or `InvalidRequest`."""

    _TOOL = {"type": "function", "function": {"name": "f", "parameters": SchemaTarget._SCHEMA}}
    _BODY = {
        "model": "m",
        "prompt": "a",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
        "tools": [_TOOL],
        "tool_choice": "required",
        "stop": ["a"],
        "logit_bias": {"5": 1.0},
        "n": 2,
        "stream_options": {"include_usage": True},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SchemaTarget._SCHEMA}},
        "tokens": [1, 2],
        "chat_template_kwargs": {"a": 1},
    }
    _SCHEMAS = (ChatRequest, CompletionRequest, TokenizeRequest, DetokenizeRequest)
    _WORDS = (*_BODY, *_KEYWORDS[:12], "role", "content", "text", "function", "name", "arguments", "tool_calls", "auto")

    def feed(self, data: bytes) -> None:
        reader = BytesReader(data)
        schema = reader.one_of(self._SCHEMAS)
        if reader.number(4):
            body = msgspec.json.encode(reader.changed(self._BODY, self._WORDS))
        else:
            body = reader.rest()
        with suppress(InvalidRequest):
            self._go_on(parse(schema, body))

    def _go_on(self, asked: ChatRequest | CompletionRequest | TokenizeRequest | DetokenizeRequest) -> None:
        match asked:
            case ChatRequest():
                for message in asked.messages:
                    msgspec.json.encode(message.for_template)
                if asked.demanded_tools:
                    with suppress(InvalidRequest):  # the other schema shall be looked at in any case
                        checked(call_schema(asked.demanded_tools))
                if asked.response_format.wanted_schema is not None:
                    checked(asked.response_format.wanted_schema)
            case CompletionRequest():
                assert asked.prompts is not None
                if asked.response_format.wanted_schema is not None:
                    checked(asked.response_format.wanted_schema)
            case _:
                pass


class AnswerTarget(Target):
    """A model's words, cut anywhere: what comes of them does not depend on the cuts, and events are single lines."""

    _PARTS = (
        *(
            '{"name": "f", ',
            '"arguments": ',
            '"parameters": ',
            '{"a": 1}',
            "}",
            "<tool_call>",
            "</tool_call>",
            "{",
            "[",
        ),
        *(
            "<|python_tag|>",
            "; ",
            '"',
            "\\",
            "\\u00e9",
            "\\ud800",
            "null",
            "1e9",
            "\n",
            "data: ",
            "\r",
            "🙂",
            "é",
            " ab",
        ),
    )

    def feed(self, data: bytes) -> None:
        reader = BytesReader(data)
        stops = [reader.one_of(self._PARTS) for _ in range(reader.number(3))]
        parser, most_calls = reader.one_of((HermesParser, LlamaParser)), reader.one_of((None, 1))
        pieces = [reader.one_of(self._PARTS) for _ in range(reader.number(30))] + [
            reader.take(20).decode(errors="replace")
        ]
        whole, text = "".join(pieces), self._shown("".join(pieces), stops)
        assert "".join(self._cut(pieces, stops)) == text
        said = self._said(parser(most_calls), [whole])
        assert self._said(parser(most_calls), pieces) == said == self._said(parser(most_calls), list(whole))
        line = event({"choices": [{"text": text}]})
        assert line.count(b"\n") == 2 and b"\r" not in line and json.loads(line.removeprefix(b"data: "))

    def _cut(self, pieces: Sequence[str], stops: Sequence[str]) -> Sequence[str]:
        finder, shown = StopStrings(stops), list[str]()
        for piece in pieces:
            if not finder.is_found:
                shown.append(finder.feed(piece))
        return shown if finder.is_found else [*shown, finder.flush()]

    def _shown(self, whole: str, stops: Sequence[str]) -> str:
        return "".join(self._cut([whole], stops))

    def _said(self, parser: HermesParser | LlamaParser, pieces: Sequence[str]) -> list[tuple[str, int, str]]:
        """Joined, as a client joins it."""
        said = list[tuple[str, int, str]]()
        for one in [each for piece in pieces for each in parser.feed(piece)] + parser.flush():
            kind, call, text = self._parts(one)
            if said and said[-1][:2] == (kind, call) and kind != "CallBegun":
                said[-1] = (kind, call, said[-1][2] + text)
            elif text or kind == "CallBegun":
                said.append((kind, call, text))
        return said

    def _parts(self, one: Said) -> tuple[str, int, str]:
        return type(one).__name__, getattr(one, "call", -1), one[-1]


class StreamTarget(Target):
    """What a server answers, as the benches' own readers take it: a judgement, whatever it is."""

    _PARTS = (
        *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 503 No\r\n", b"Content-Length: 40\r\n", b"Transfer-Encoding: chunked\r\n"),
        *(b"\r\n", b"\r\n\r\n", b"20\r\n", b"0\r\n\r\n", b"data: ", b"data:[DONE]\n\n", b'{"choices":[{"text":"a"'),
        *(b',"token_ids":[1,2]', b',"token_ids":[', b"}]}", b'"usage":{"prompt_tokens":1,"completion_tokens":2}'),
        *(
            b"\n\n",
            b"{",
            b"}",
            b"null",
            b"[]",
            b'{"error":1}',
            b'{"usage":[1]}',
            b'{"usage":1}',
            b'"text"',
            b"-",
            b",x",
        ),
    )

    def feed(self, data: bytes) -> None:
        reader = BytesReader(data)
        kind = reader.one_of((AnswerReader, WholeReader))
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" if reader.number(4) else b""
        body = b"".join(reader.one_of(self._PARTS) for _ in range(reader.number(40))) + reader.rest()
        record = Record(0.0, 1, 2, token_ids=[])
        answer = kind(record)
        for part in (head, body[: len(body) // 2], body[len(body) // 2 :]):
            if not answer.is_finished:
                answer.feed(part, 1.0)
        answer.end()


TARGETS: dict[str, type[Target]] = {
    "checkpoint": CheckpointTarget,
    "template": TemplateTarget,
    "schema": SchemaTarget,
    "request": RequestTarget,
    "answer": AnswerTarget,
    "stream": StreamTarget,
}
