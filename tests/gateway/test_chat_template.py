"""Chat templates, beside what transformers makes of the same directory."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2
import pytest
from transformers import PreTrainedTokenizerFast

from engine.errors import CannotStart, InvalidRequest
from engine.gateway.chat_template import ChatTemplate

MESSAGES = [
    {"role": "system", "content": "Be <brief> & kind."},
    {"role": "user", "content": "  Hi\n"},
    {"role": "assistant", "content": "Hello 🙂"},
    {"role": "user", "content": "{{ bos_token }}"},
]
SOURCES = [
    "{% for m in messages %}\n    {% if loop.first %}\n{{ bos_token }}{% endif %}\n{{ m | tojson }}\n{% endfor %}",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}[{{ m['content'] | trim }}]{% endfor %}",
    "{{ messages[0]['content'].upper() }}{% if add_generation_prompt %}<|assistant|>{% endif %}{{ eos_token }}",
]


@pytest.mark.parametrize("source", SOURCES)
def test_a_template_renders_as_in_transformers(model_path: Path, source: str) -> None:
    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(model_path / "tokenizer.json"), bos_token="<|begin|>", eos_token="<|end|>"
    )
    expected = theirs.apply_chat_template(MESSAGES, chat_template=source, tokenize=False, add_generation_prompt=True)
    assert ChatTemplate(source, {"bos_token": "<|begin|>", "eos_token": "<|end|>"}).render(MESSAGES) == expected


def test_where_the_template_is_found(model_path: Path, tmp_path: Path) -> None:
    assert ChatTemplate.load(tmp_path) is None
    config = {"bos_token": {"content": "<b>"}, "eos_token": None}
    for named in ("one", [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "one"}]):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": named}))
        found = ChatTemplate.load(tmp_path)
        assert found is not None and found.render(MESSAGES) == "one"
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}{{ eos_token }}file")
    found = ChatTemplate.load(tmp_path)
    assert found is not None and found.render(MESSAGES) == "<b>file"


def test_a_template_that_refuses_says_why() -> None:
    with pytest.raises(InvalidRequest, match="refuses these messages: roles must alternate"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}", {}).render(MESSAGES)


@pytest.mark.parametrize("source", ["{{ messages.append(1) }}", "{{ ''.__class__.__mro__[1].__subclasses__() }}"])
def test_a_template_runs_in_a_sandbox(source: str) -> None:
    with pytest.raises(InvalidRequest):
        ChatTemplate(source, {}).render(MESSAGES)


@pytest.mark.parametrize("source", ["{% if %}", "{% if x %}{% continue %}{% endif %}", "{{ " + "{" * 2000])
def test_a_broken_template_cannot_start(tmp_path: Path, source: str) -> None:
    (tmp_path / "chat_template.jinja").write_text(source)
    with pytest.raises(CannotStart, match="chat template"):
        ChatTemplate.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.jinja", b"\xff"),
        ("tokenizer_config.json", b"\xff"),
        ("tokenizer_config.json", b"[1]"),
        ("tokenizer_config.json", b"{"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CannotStart, match=name):
        ChatTemplate.load(tmp_path)


def test_names_without_templates_are_none(tmp_path: Path) -> None:
    for named in (["default"], [{"name": "default"}], [{"name": "default", "template": 5}], 5):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": 1, "chat_template": named}))
        assert ChatTemplate.load(tmp_path) is None


def test_a_template_by_itself_says_what_is_wrong() -> None:
    with pytest.raises(jinja2.TemplateError):
        ChatTemplate("{% if %}", {})


def test_the_date_is_there_for_templates_that_ask() -> None:
    assert ChatTemplate("{{ strftime_now('%Y') }}", {}).render([]).isdigit()
