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


def test_shares_that_corrupt_results_are_not_offered() -> None:
    with pytest.raises(CannotStart, match="cannot be 'mps'"):
        ServerArgs(splitter=Splitter.MPS).for_device("cuda")


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
