"""The model's own chat template: messages to the text that the model was trained to continue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Self

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.errors import CannotStart, InvalidRequest


class ChatTemplate:
    """A Jinja template from the model directory. It is the model author's program, so it runs in a sandbox."""

    def __init__(self, source: str, special_tokens: dict[str, str]):
        """`special_tokens`: `bos_token`, `eos_token` and so on. Raises `jinja2.TemplateError`."""
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
        self._template = environment.from_string(source)
        self._special_tokens = special_tokens

    @classmethod
    def load(cls, model_path: Path) -> Self | None:
        """The template of a model directory, or None if it has none. Raises `CannotStart` for a broken one."""
        config_path = model_path / "tokenizer_config.json"
        config = json.loads(config_path.read_text("utf-8")) if config_path.is_file() else {}
        source = _source(model_path, config)
        if source is None:
            return None
        try:
            return cls(source, _special_tokens(config))
        except jinja2.TemplateError as error:
            raise CannotStart(f"The chat template of {model_path} cannot be read: {error}.") from error

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """The prompt, open for the assistant's turn. Raises `InvalidRequest` if the template refuses the messages."""
        try:
            return self._template.render(messages=messages, add_generation_prompt=True, **self._special_tokens)
        except jinja2.TemplateError as error:
            reason = str(error).rstrip(".")
            raise InvalidRequest(f"The chat template refuses these messages: {reason}.", param="messages") from error


def _source(model_path: Path, config: dict[str, Any]) -> str | None:
    file = model_path / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    source = config.get("chat_template")
    if isinstance(source, list):  # several named templates
        return {entry["name"]: entry["template"] for entry in source}.get("default")
    return source


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    """`"bos_token": "<s>"` or `"bos_token": {"content": "<s>", …}`."""
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    tokens = {name: config[name] for name in names if config.get(name) is not None}
    return {name: token["content"] if isinstance(token, dict) else token for name, token in tokens.items()}


def _to_json(value: Any, indent: int | None = None) -> str:
    """Jinja's own `tojson` escapes for HTML, which no model has seen in training."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
