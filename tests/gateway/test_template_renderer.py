"""Templates that never end, take all memory or write without bound: the request fails, the gateway serves on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineFailure, InvalidRequest
from engine.gateway import template_renderer
from engine.gateway.chat_template import ChatTemplate
from engine.gateway.template_renderer import TemplateRenderer
from engine.wire.to_scheduler import Submit
from tests.gateway.stand import Stand, events, streamed_text
from tests.gateway.tiny_model import save_tiny_model

MOST_CHARACTERS = 10_000
WILD_TEMPLATE = """\
{%- set word = messages[0].content %}
{%- if word == 'endless' %}
    {%- for a in range(99999) %}{% for b in range(99999) %}{% if a * b < 0 %}x{% endif %}{% endfor %}{% endfor %}
{%- elif word == 'large' %}{{ ('x' * 4000000000) | length }}
{%- elif word == 'long' %}{% for a in range(99999) %}{{ 'x' }}{% endfor %}
{%- elif word == 'wrong' %}{{ 'x' + 1 }}
{%- elif word == 'refused' %}{{ raise_exception('not this word') }}
{%- else %}{{ word }}{{ flavour }}{% endif %}"""


@pytest.fixture(scope="module")
def wild_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("wild") / "model", WILD_TEMPLATE)


def conversation(word: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": word}]


def rendering(path: Path, seconds: float | None, scenario: Callable[[TemplateRenderer], Awaitable[None]]) -> None:
    """Run a scenario with a renderer of its own."""

    async def run() -> None:
        renderer = TemplateRenderer(path, MOST_CHARACTERS, seconds)
        renderer.start()
        try:
            await scenario(renderer)
        finally:
            await renderer.stop()

    asyncio.run(run())


async def render(renderer: TemplateRenderer, word: str, **more: Any) -> str:
    return await renderer.render(conversation(word), [], more, is_open=True)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("large", "fails on these messages with MemoryError."),
        ("long", "makes more than 10000 characters of these messages."),
        ("wrong", "fails on these messages with TypeError."),
        ("refused", "refuses these messages: not this word."),
    ],
)
def test_a_template_that_fails_says_how_and_the_process_goes_on(wild_model: Path, word: str, sentence: str) -> None:
    async def scenario(renderer: TemplateRenderer) -> None:
        assert await render(renderer, "one") == "one"
        process = renderer._process
        with pytest.raises(InvalidRequest, match=f"The chat template {sentence}"):
            await render(renderer, word)
        assert await render(renderer, "two", flavour=" sweet") == "two sweet"
        assert renderer._process is process

    rendering(wild_model, None, scenario)


def test_a_template_without_end_is_ended(wild_model: Path) -> None:
    async def scenario(renderer: TemplateRenderer) -> None:
        words = ("one", "endless", "two")
        one, endless, two = await asyncio.gather(*(render(renderer, word) for word in words), return_exceptions=True)
        assert (one, two) == ("one", "two")
        assert isinstance(endless, InvalidRequest) and "takes longer than 2 s" in endless.message

    rendering(wild_model, 2.0, scenario)


def test_a_process_that_ends_is_started_again(wild_model: Path) -> None:
    async def scenario(renderer: TemplateRenderer) -> None:
        assert await render(renderer, "one") == "one"
        assert renderer._process is not None
        os.kill(renderer._process._child.pid, signal.SIGKILL)
        with pytest.raises(EngineFailure):
            await render(renderer, "two")
        assert await render(renderer, "three") == "three"

    rendering(wild_model, None, scenario)


def test_an_answer_nobody_waited_for_is_not_taken_for_the_next(wild_model: Path) -> None:
    async def scenario(renderer: TemplateRenderer) -> None:
        await render(renderer, "zero")
        abandoned = asyncio.create_task(render(renderer, "one"))
        await asyncio.sleep(0)  # it has asked
        abandoned.cancel()
        await asyncio.gather(abandoned, return_exceptions=True)
        assert abandoned.cancelled()
        assert await render(renderer, "two") == "two"

    rendering(wild_model, None, scenario)


def test_numbers_of_any_size_and_deep_nesting(wild_model: Path) -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]

    async def scenario(renderer: TemplateRenderer) -> None:
        assert await render(renderer, "n", flavour=10**30) == f"n{10**30}"
        with pytest.raises(InvalidRequest, match="nested too deeply"):
            await render(renderer, "n", flavour=nested)

    rendering(wild_model, None, scenario)


def test_the_gateway_stays_alive(wild_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_renderer, "RENDER_SECONDS", 2.0)
    with Stand(wild_model) as stand:
        stand.says("Hello")
        stand.scheduler.is_held = True
        body = {"model": "tiny", "prompt": "Hi", "stream": True}
        with stand.client.stream("POST", "/v1/completions", json=body) as stream:
            stand.scheduler.expect(Submit)
            response = stand.chat(messages=conversation("endless"))
            assert response.status_code == 400
            assert "takes longer than" in response.json()["error"]["message"]
            assert stand.client.get("/v1/health/live").status_code == 200
            stand.scheduler.is_held = False
            stand.scheduler.step()
            stream.read()
            assert streamed_text(events(stream)) == "Hello"
        assert stand.chat(messages=conversation("again")).status_code == 200


def test_what_the_template_is_told(wild_model: Path) -> None:
    """A client's variables cannot stand in for the conversation or the special tokens."""
    template = ChatTemplate("{{ bos_token }}{{ messages | length }}{{ tools }}{{ thinking }}", {"bos_token": "<s>"})
    more = {"bos_token": "no", "messages": [], "thinking": False, "tools": ["x"]}
    assert template.render(conversation("a"), [], more) == "<s>1NoneFalse"


def test_marks_for_training_say_nothing() -> None:
    source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}!"
    assert ChatTemplate(source, {}).render(conversation("a")) == "a!"
