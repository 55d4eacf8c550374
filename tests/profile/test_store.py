"""Profiles that are kept, and those that do not hold any more."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from appliance.profile.store import ProfileStore
from engine.allocation import Splitter
from engine.config import ServerArgs
from engine.profile.key import ProfileKey
from tests.profile.measured import KEY, a_profile


def test_what_was_kept_is_found_on_the_same_machine_only(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "profiles")
    assert store.find(KEY) == (None, "")
    store.keep(a_profile())
    assert store.find(KEY) == (a_profile(), "")
    for other in (
        replace(KEY, device="NVIDIA H100"),
        replace(KEY, shape={"hidden_size": 2048}),
        replace(KEY, splitter=Splitter.GREEN),
        replace(KEY, dtype="float16"),
        replace(KEY, deterministic=True),
    ):
        assert store.find(other) == (None, ""), "another device or model is no change of this one"
    assert (tmp_path / "profiles").stat().st_mode & 0o777 == 0o700


def test_another_version_makes_it_stale_and_says_which(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)
    store.keep(a_profile())
    kept = store.find(replace(KEY, driver="590.1", versions={"torch": "2.12.0", "flashinfer-python": "0.6.13"}))
    assert kept.profile is None
    assert "driver was 580.159.03 and is 590.1" in kept.stale
    assert "torch was 2.11.0 and is 2.12.0" in kept.stale
    assert "flashinfer" not in kept.stale
    gone = store.find(replace(KEY, versions={"torch": "2.11.0"}))
    assert "flashinfer-python was 0.6.13 and is none" in gone.stale


def test_a_damaged_file_is_no_profile_and_is_replaced(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)
    store.path(KEY).write_text('{"key": ')
    assert "cannot be read" in store.find(KEY).stale
    store.keep(a_profile())
    assert store.find(KEY).profile is not None
    assert [path.name for path in tmp_path.iterdir()] == [KEY.file_name], "no draft stays behind"


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ProfileStore(tmp_path)
    store.keep(a_profile())

    def no_space(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="no space"):
        store.keep(replace(a_profile(), seconds=1.0))
    assert store.find(KEY) == (a_profile(), "")
    assert [path.name for path in tmp_path.iterdir()] == [KEY.file_name]


def test_the_shape_counts_and_not_the_path(tmp_path: Path) -> None:
    settings = ServerArgs().for_device("cpu")
    (tmp_path / "config.json").write_bytes((settings.model_path / "config.json").read_bytes())
    copied = ServerArgs(model_path=tmp_path).for_device("cpu")
    assert ProfileKey.of(settings, "a CPU", "") == ProfileKey.of(copied, "a CPU", "")
    assert "torch" in ProfileKey.of(settings, "a CPU", "").versions
