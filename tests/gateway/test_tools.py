"""Tools as the official client uses them: offered, called, answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import openai
import pytest
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam
from transformers import PreTrainedTokenizerFast

from engine.wire.to_scheduler import Submit
from tests.gateway.fake_scheduler import READY
from tests.gateway.stand import KEY, MODEL, Stand
from tests.gateway.tiny_model import BOS, EOS, save_tiny_model
from tests.gateway.tool_models import HERMES_TEMPLATE, LLAMA_TEMPLATE

ARGUMENTS = {"city": "Åre 🏔", "days": [1, 2]}
WEATHER: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells <the> weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TOOLS = [WEATHER]
ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
ANSWERED: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Hi"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": json.dumps(ARGUMENTS)}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "snow"},
]


class Model(NamedTuple):
    """A stand, and how its model writes a call."""

    stand: Stand
    template: str
    call: str

    def calls(self, lead: str = "", count: int = 1) -> None:
        """The engine will answer with this many calls."""
        call = self.call % json.dumps(ARGUMENTS, ensure_ascii=False)
        self.stand.says(lead + (";" if "parameters" in self.call else "\n").join([call] * count))


HERMES = (HERMES_TEMPLATE, '<tool_call>\n{"name": "weather", "arguments": %s}\n</tool_call>', ["<tool_call>"])
LLAMA = (LLAMA_TEMPLATE, '{"name": "weather", "parameters": %s}', ["<|python_tag|>"])


@pytest.fixture(scope="module", params=[HERMES, LLAMA], ids=["hermes", "llama"])
def model_of_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """Their marks are special tokens in some models, here in these."""
    template, call, marks = request.param
    path = save_tiny_model(tmp_path_factory.mktemp("tools") / "model", template, marks)
    with Stand(path) as stand:
        yield Model(stand, template, call)


@pytest.fixture
def model(model_of_file: Model) -> Model:
    stand = model_of_file.stand
    stand.reset()
    stand.scheduler.load_table.publish(msgspec.structs.replace(READY, max_model_len=4096, pool_tokens=4096))
    return model_of_file


@pytest.fixture
def client(model: Model) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{model.stand.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def test_a_call(model: Model, client: openai.OpenAI) -> None:
    model.calls()
    (choice,) = client.chat.completions.create(model=MODEL, messages=ASKED, tools=TOOLS).choices
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.id.startswith("call_")
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", ARGUMENTS)


@pytest.mark.parametrize("count", [1, 2])
def test_a_call_is_streamed_as_it_comes(model: Model, client: openai.OpenAI, count: int) -> None:
    model.calls(count=count)
    model.stand.scheduler.is_held = True
    with client.chat.completions.create(model=MODEL, messages=ASKED, tools=TOOLS, stream=True) as stream:
        model.stand.scheduler.expect(Submit)
        for _ in range(60 * count):
            model.stand.scheduler.step()
        model.stand.scheduler.is_held = False
        model.stand.scheduler.step()
        choices = [chunk.choices[0] for chunk in stream]
    assert choices[0].delta.role == "assistant"
    assert choices[-1].finish_reason == "tool_calls"
    assert not any(choice.delta.content for choice in choices)
    deltas = [delta for choice in choices for delta in choice.delta.tool_calls or []]
    for index in range(count):
        first, *rest = (delta for delta in deltas if delta.index == index)
        assert first.id and first.type == "function" and first.function and first.function.name == "weather"
        assert all(delta.id is None and delta.function and delta.function.name is None for delta in rest)
        arguments = "".join(delta.function.arguments or "" for delta in (first, *rest) if delta.function)
        assert json.loads(arguments) == ARGUMENTS
    assert len({delta.id for delta in deltas if delta.id}) == count


def test_the_clients_own_accumulator_understands_the_stream(model: Model, client: openai.OpenAI) -> None:
    model.calls(count=2)
    with client.chat.completions.stream(model=MODEL, messages=ASKED, tools=TOOLS) as stream:
        stream.until_done()
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == [ARGUMENTS] * 2


def test_one_call_at_most_where_the_client_says_so(model: Model, client: openai.OpenAI) -> None:
    model.calls(count=2)
    asked: dict[str, Any] = {"model": MODEL, "messages": ASKED, "tools": TOOLS, "parallel_tool_calls": False}
    message = client.chat.completions.create(**asked).choices[0].message
    assert len(message.tool_calls) == 1


def test_text_is_text(model: Model, client: openai.OpenAI) -> None:
    model.stand.says("No tool: {} < 5")
    (choice,) = client.chat.completions.create(model=MODEL, messages=ASKED, tools=TOOLS).choices
    assert choice.message.content == "No tool: {} < 5"
    assert choice.message.tool_calls is None and choice.finish_reason == "stop"


def test_without_tools_nothing_is_a_call(model: Model, client: openai.OpenAI) -> None:
    model.calls()
    asked: list[dict[str, Any]] = [{}, {"tools": TOOLS, "tool_choice": "none"}]
    for fields in asked:
        (choice,) = client.chat.completions.create(model=MODEL, messages=ASKED, **fields).choices
        assert choice.message.tool_calls is None and choice.finish_reason == "stop"
        assert choice.message.content and '"weather"' in choice.message.content
        prompt = model.stand.tokenizer.decode(model.stand.scheduler.expect(Submit).request.prompt_ids)
        assert "weather" not in prompt


def test_a_call_that_was_cut_off_ends_by_its_length(model: Model, client: openai.OpenAI) -> None:
    model.calls()
    asked: dict[str, Any] = {"model": MODEL, "messages": ASKED, "tools": TOOLS, "max_tokens": 45}
    (choice,) = client.chat.completions.create(**asked).choices
    assert choice.finish_reason == "length" and len(choice.message.tool_calls) == 1
    with pytest.raises(json.JSONDecodeError):
        json.loads(choice.message.tool_calls[0].function.arguments)


@pytest.mark.parametrize("messages", [ASKED, ANSWERED])
def test_the_prompt_is_the_one_transformers_makes(
    model: Model, client: openai.OpenAI, messages: list[ChatCompletionMessageParam], model_path: Path
) -> None:
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(model_path / "tokenizer.json"), bos_token=BOS, eos_token=EOS)
    conversation, tools = json.loads(json.dumps([messages, TOOLS]))
    for turn in conversation:
        for call in turn.get("tool_calls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    expected = theirs.apply_chat_template(
        conversation, chat_template=model.template, tools=tools, tokenize=False, add_generation_prompt=True
    )
    client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    request = model.stand.scheduler.expect(Submit).request
    assert model.stand.tokenizer.decode(request.prompt_ids, skip_special_tokens=False) == expected


@pytest.mark.parametrize("arguments", ["{", "[1]", "5", '"text"'])
def test_arguments_of_an_earlier_call_must_be_an_object(model: Model, client: openai.OpenAI, arguments: str) -> None:
    messages = json.loads(json.dumps(ANSWERED))
    messages[1]["tool_calls"][0]["function"]["arguments"] = arguments
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    assert refused.value.param == "messages.1.tool_calls.0.function.arguments"


def test_what_a_template_cannot_write_is_refused(model: Model, client: openai.OpenAI) -> None:
    messages = json.loads(json.dumps(ANSWERED))
    messages[1]["tool_calls"] *= 2
    if model.template == LLAMA_TEMPLATE:
        with pytest.raises(openai.BadRequestError, match="one call at a time"):
            client.chat.completions.create(model=MODEL, messages=messages)
    else:
        client.chat.completions.create(model=MODEL, messages=messages)
        prompt = model.stand.tokenizer.decode(model.stand.scheduler.expect(Submit).request.prompt_ids)
        assert prompt.count('"name": "weather"') == 2
