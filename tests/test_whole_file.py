"""Files that are read while they are written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from appliance.instance import Instance, Running
from engine.whole_file import write_whole


def test_who_has_begun_to_read_reads_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_whole(path, "the first")
    with path.open() as reader:
        write_whole(path, "second")
        assert reader.read() == "the first"
    assert path.read_text() == "second"
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_its_mode_is_that_which_was_asked_for(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "state.json"
    (tmp_path / "state.new").write_text("half-writ")
    before = os.umask(0o022)
    try:
        write_whole(path, "whole", mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_text() == "whole"


def test_an_appliance_that_starts_is_found_as_a_whole(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    assert instance.running() is None
    instance.announce(Running(1, "/run/one", "http://127.0.0.1:8000"))
    with (tmp_path / "running.json").open() as reader:
        instance.announce(Running(2, "/run/another", "http://127.0.0.1:9000"))
        assert '"pid":1' in reader.read()
    assert instance.running() == Running(2, "/run/another", "http://127.0.0.1:9000")
