"""Every field that changes how tokens are drawn reaches the engine."""

from __future__ import annotations

import json
from pathlib import Path

from engine.gateway.sampling import SamplingDefaults
from engine.wire.to_scheduler import Submit
from tests.gateway.stand import Stand


def test_all_fields_are_handed_in(stand: Stand) -> None:
    fields = {
        "min_p": 0.1,
        "repetition_penalty": 1.2,
        "presence_penalty": -0.5,
        "frequency_penalty": 2,
        "logit_bias": {"5": -100, "17": 3.5},
        "stop_token_ids": [9, 1, 9],
        "priority": -3,
    }
    for ask in (stand.complete, stand.chat):
        assert ask(**fields).status_code == 200
        request = stand.scheduler.expect(Submit).request
        sampling = request.sampling
        assert (sampling.min_p, sampling.repetition_penalty) == (0.1, 1.2)
        assert (sampling.presence_penalty, sampling.frequency_penalty) == (-0.5, 2.0)
        assert sampling.logit_bias == {5: -100.0, 17: 3.5}
        assert sampling.stop_token_ids == (1, 2, 9)
        assert request.priority == -3


def test_a_stop_token_of_the_client_ends_the_answer_without_text(stand: Stand) -> None:
    ids = stand.tokenizer.encode("Hello world", add_special_tokens=False).ids
    stand.scheduler.script = lambda request: ids
    choice = stand.complete(stop_token_ids=[ids[-1]], ignore_eos=True).json()["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["text"] == stand.tokenizer.decode(ids[:-1])
    assert stand.scheduler.expect(Submit).request.sampling.stop_token_ids == (ids[-1],)


def test_fields_that_ask_for_nothing_or_for_what_is_done_anyway(stand: Stand) -> None:
    fields = {
        "echo": False,
        "best_of": 1,
        "n": 1,
        "suffix": "",
        "user": "ann",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "response_format": {"type": "text"},
        "logit_bias": None,
        "tools": [],
        "tool_choice": "none",
        "parallel_tool_calls": False,
    }
    assert stand.complete(**fields).status_code == 200
    assert stand.chat(**fields).status_code == 200
    assert stand.complete(best_of=1, n=2).status_code == 200


def test_what_a_model_says_of_its_sampling(tmp_path: Path) -> None:
    assert SamplingDefaults.load(tmp_path) == SamplingDefaults()
    said = {"temperature": 0.7, "min_p": 0.05, "repetition_penalty": 1.05, "do_sample": True}
    (tmp_path / "generation_config.json").write_text(json.dumps(said))
    expected = SamplingDefaults(temperature=0.7, min_p=0.05, repetition_penalty=1.05)
    assert SamplingDefaults.load(tmp_path) == expected
