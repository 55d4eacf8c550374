"""The table of processes: this test's own process stands for the controller."""

from __future__ import annotations

import os

import pytest

from appliance.control import desk
from tests.webui.stand import Browser, Stand


def row_of(page: str, pid: int) -> str:
    return next(row for row in page.split("<tr>") if f">{pid}<" in row)


def test_each_process_says_whether_it_computes_or_waits(owner: Browser) -> None:
    row = row_of(owner.get("/processes/table").text, os.getpid())
    assert ">computes<" in row or ">waits<" in row


def test_without_a_gpu_nothing_is_said_of_its_memory(owner: Browser) -> None:
    assert "GPU memory" not in owner.get("/processes/table").text


def test_the_gpus_memory_is_the_controllers_to_tell(
    stand: Stand, owner: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "memory_by_process", lambda settings: {os.getpid(): 866 * 2**20})
    stand.engine.settings = stand.settings.model_copy(update={"device": "cuda"})
    page = owner.get("/processes/table").text
    assert "GPU memory" in page and "866 MiB" in row_of(page, os.getpid())
