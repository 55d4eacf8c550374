"""The model's own chat template: messages to the text that the model was trained to continue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Self

import jinja2
import msgspec
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.errors import CannotStart, InvalidRequest


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks, for training, what the assistant said; here it says nothing."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A Jinja template from the model directory. It is the model author's program, so it runs in a sandbox."""

    def __init__(self, source: str, special_tokens: dict[str, str]):
        """`special_tokens`: `bos_token`, `eos_token` and so on. Raises `jinja2.TemplateError`."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
        self._template = environment.from_string(source)
        self._special_tokens = special_tokens

    @classmethod
    def load(cls, model_path: Path) -> Self | None:
        """The template of a model directory, or None if it has none. Raises `CannotStart` for a broken one."""
        source = template_source(model_path)
        if source is None:
            return None
        try:
            return cls(source, _special_tokens(_tokenizer_config(model_path)))
        except Exception as error:  # compiling it, Jinja's parser and Python's own complain in many ways
            raise CannotStart(f"The chat template of {model_path} cannot be read: {error}.") from error

    def render(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]] = (),
        more: dict[str, Any] | None = None,
        *,
        is_open: bool = True,
        most_characters: int | None = None,
    ) -> str:
        """The prompt, with `is_open` ready for the assistant's turn. `more`: variables of this very template.

        Raises `InvalidRequest` if the template refuses the messages, fails on them, or writes too much.
        """
        variables = {
            **(more or {}),
            **self._special_tokens,
            "messages": messages,
            "tools": list(tools) or None,
            "documents": None,
            "add_generation_prompt": is_open,
        }
        try:
            return self._bounded(variables, most_characters)
        except jinja2.TemplateError as error:
            reason = str(error).rstrip(".")
            raise InvalidRequest(f"The chat template refuses these messages: {reason}.", param="messages") from error
        except InvalidRequest:
            raise
        except Exception as error:  # a template is a program of others and may fail in any way
            raise InvalidRequest(
                f"The chat template fails on these messages with {type(error).__name__}.", param="messages"
            ) from error

    def _bounded(self, variables: dict[str, Any], most_characters: int | None) -> str:
        parts, length = list[str](), 0
        for part in self._template.generate(variables):
            parts.append(part)
            length += len(part)
            if most_characters is not None and length > most_characters:
                raise InvalidRequest(
                    f"The chat template makes more than {most_characters} characters of these messages.",
                    param="messages",
                )
        return "".join(parts)


def template_source(model_path: Path) -> str | None:
    """The text of a model directory's template, None if it has none. Raises `CannotStart` for a broken file."""
    file = model_path / "chat_template.jinja"
    if file.is_file():
        return _text(file)
    source = _tokenizer_config(model_path).get("chat_template")
    if isinstance(source, list):  # several named templates
        default = (entry for entry in source if isinstance(entry, dict) and entry.get("name") == "default")
        source = next(default, {}).get("template")
    return source if isinstance(source, str) else None


def _tokenizer_config(model_path: Path) -> dict[str, Any]:
    path = model_path / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        return msgspec.json.decode(_text(path), type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise CannotStart(f"The file {path} cannot be read: {error}.") from error


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise CannotStart(f"The file {path} is no text in UTF-8: {error}.") from error


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    """`"bos_token": "<s>"` or `"bos_token": {"content": "<s>", …}`."""
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    tokens = ((name, config.get(name)) for name in names)
    texts = ((name, token.get("content") if isinstance(token, dict) else token) for name, token in tokens)
    return {name: text for name, text in texts if isinstance(text, str)}


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own `tojson` escapes for HTML, which no model has seen in training."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
