"""What the person at the terminal is told while a large checkpoint is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.attention import Attention
from appliance.engine_processes import EngineProcesses
from engine.config import PortArgs, ServerArgs


@pytest.mark.parametrize(
    ("log", "progress"),
    [
        ("", ""),
        ('{"event": "loading weights 12 %"}\n{"event": "loading weights 45 %"}\n', "loading weights 45 %"),
        ('{"event": "loading weights 45 %"}\n{"event": "loading wei', "loading weights 45 %"),
        ('a warning of torch\n{"event": "ready"}\n', ""),
    ],
)
def test_the_latest_word_of_the_resident_is_told(tmp_path: Path, log: str, progress: str) -> None:
    settings = ServerArgs(device="cpu").for_device("cpu")
    processes = EngineProcesses(
        settings,
        PortArgs(tmp_path),
        tmp_path,
        Attention(),
        on_end=pytest.fail,
        on_resident_end=lambda child: pytest.fail(child.end),
        on_scheduler_end=lambda child: pytest.fail(child.end),
        on_leader_end=lambda slot, child: pytest.fail(child.end),
    )
    resident = processes._supervisor.start("resident", "this")
    resident.process.wait()
    resident.log_path.write_text(log)
    assert processes.loading_progress == progress
