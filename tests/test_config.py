"""Settings, checked when they are built and when a device is known."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from engine.allocation import Splitter
from engine.config import PortArgs, ServerArgs, explain
from engine.errors import CannotStart


def test_open_choices_are_made_for_the_device() -> None:
    cpu, gpu = ServerArgs().for_device("cpu"), ServerArgs().for_device("cuda")
    assert (cpu.dtype, cpu.splitter) == ("float32", Splitter.DUTY)
    assert (gpu.dtype, gpu.splitter) == ("bfloat16", Splitter.GREEN)
    assert ServerArgs(max_running_requests=3).for_device("cuda").max_running_requests == 3


def test_a_device_is_split_by_what_can_split_it() -> None:
    assert ServerArgs(splitter=Splitter.MPS).for_device("cuda").splitter is Splitter.MPS
    with pytest.raises(CannotStart, match="cannot be 'mps' on the CPU: it can be duty or none"):
        ServerArgs(splitter=Splitter.MPS).for_device("cpu")
    with pytest.raises(CannotStart, match="cannot be 'duty' on a GPU"):
        ServerArgs(splitter=Splitter.DUTY).for_device("cuda")


def test_the_environment_sets_the_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMI_PD_PREFILL_SM_PERCENTILE", "60")
    monkeypatch.setenv("SEMI_PD_DECODE_SM_PERCENTILE", "40")
    assert str(ServerArgs().allocation) == "60/40"
    assert str(ServerArgs(prefill_sm_percentage=70).allocation) == "70/40"


def test_the_default_split_is_the_documented_one() -> None:
    assert str(ServerArgs().allocation) == "80/100"


def test_a_bad_setting_is_one_sentence() -> None:
    with pytest.raises(ValidationError) as error:
        ServerArgs(page_size=0)
    assert explain(error.value) == ("The setting page_size cannot be 0: input should be greater than or equal to 1.")


def test_settings_survive_their_file(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServerArgs(port=8123, prefill_sm_percentage=30).for_device("cpu")
    ports = PortArgs.init_new(settings)
    monkeypatch.setenv("SEMI_PD_PREFILL_SM_PERCENTILE", "99")
    assert ports.read_settings() == settings
    assert ports.runtime_dir.stat().st_mode & 0o777 == 0o700


def test_a_directory_too_deep_for_sockets_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    with pytest.raises(CannotStart, match="set XDG_RUNTIME_DIR to a shorter path"):
        PortArgs.init_new(ServerArgs())
    assert not list(deep.iterdir())


def test_deterministic_cuts_prompts_in_whole_pages() -> None:
    settings = ServerArgs(deterministic=True, prefill_token_budget=100, page_size=16)
    assert settings.for_device("cpu").chunk_tokens == 96
    assert ServerArgs(prefill_token_budget=100).for_device("cpu").chunk_tokens is None
    with pytest.raises(
        CannotStart, match="prefill_token_budget cannot be 15 with deterministic.*at least page_size, 16"
    ):
        ServerArgs(deterministic=True, prefill_token_budget=15, page_size=16).for_device("cpu")


def test_a_padded_step_is_small_unless_asked_for() -> None:
    assert ServerArgs(deterministic=True).for_device("cuda").max_running_requests == 64
    assert ServerArgs(deterministic=True, max_running_requests=200).for_device("cuda").max_running_requests == 200
    assert ServerArgs().for_device("cuda").max_running_requests == 256
