"""Ninjas that run beside one another share compilers, as many as cores and memory allow."""

from __future__ import annotations

import os

import pytest

from engine.kernels.job_tokens import COMPILER_BYTES, available_bytes, compilers_at_once, job_tokens


@pytest.mark.parametrize(
    ("cores", "room", "limit", "expected"),
    [(16, 64, None, 16), (16, 5, None, 5), (16, 64, "4", 4), (16, 2, "4", 2), (2, 0, None, 1), (2, 8, "all", 2)],
)
def test_as_many_compilers_as_cores_memory_and_a_person_allow(
    cores: int, room: int, limit: str | None, expected: int
) -> None:
    assert compilers_at_once(cores, room * COMPILER_BYTES, limit) == expected


def test_the_hosts_memory_is_told() -> None:
    assert 0 < available_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_tokens_are_there_to_be_taken_and_the_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_JOBS", "8")
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    with job_tokens(3) as tokens:
        tokens.add(2)
        assert "MAX_JOBS" not in os.environ
        path = os.environ["MAKEFLAGS"].split("fifo:")[1]
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        assert os.read(reader, 100) == b"+" * 5
        os.close(reader)
    assert os.environ["MAX_JOBS"] == "8" and "MAKEFLAGS" not in os.environ and not os.path.exists(path)
