"""Which targets hold at a start, and who has set them."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.store import queries
from appliance.store.reading import reading
from appliance.store.store import Store
from appliance.store.targets import PolicySettings, applied, on_command_line, settle
from engine.config import PortArgs, ServerArgs

KEPT = {
    "ttft_ms": 300.0, "tpot_ms": 30.0, "window_seconds": 10.0, "cooldown_seconds": 20.0, "min_confidence": 0.5,
    "mode": "hold", "set_by": "alice", "set_at": 0.0,
}  # fmt: skip


def test_the_first_start_has_the_defaults() -> None:
    settled = settle(ServerArgs(), None, set())
    assert settled.settings == PolicySettings(500.0, 50.0, 30.0, 60.0, 0.7, "auto")
    assert settled.reason and "first start" in settled.sentence


def test_what_was_set_last_wins_over_defaults() -> None:
    settled = settle(ServerArgs(), KEPT, set())
    assert settled.settings == PolicySettings(300.0, 30.0, 10.0, 20.0, 0.5, "hold")
    assert settled.reason == "" and "set by alice" in settled.sentence
    settings = applied(ServerArgs(port=1234), settled.settings)
    assert (settings.ttft_target_ms, settings.policy, settings.port) == (300.0, "hold", 1234)


def test_the_command_line_wins_over_what_was_set_last() -> None:
    settled = settle(ServerArgs(ttft_target_ms=700.0), KEPT, {"ttft_target_ms"})
    assert settled.settings == PolicySettings(700.0, 30.0, 10.0, 20.0, 0.5, "hold")
    assert settled.reason
    assert "TTFT 700 ms" in settled.sentence and "instead of TTFT 300 ms" in settled.sentence


def test_the_environment_is_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMI_PD_TTFT_TARGET_MS", "700.0")
    assert on_command_line(ServerArgs()) == set()
    assert on_command_line(ServerArgs(ttft_target_ms=800.0, tpot_target_ms=20.0, port=99)) == {
        "ttft_target_ms", "tpot_target_ms",
    }  # fmt: skip


def test_history_with_who_and_why_over_starts(tmp_path: Path, runtime_dir: Path) -> None:
    ports = PortArgs(runtime_dir)
    store = Store(tmp_path, ports)
    store.start()
    store.settle(ServerArgs(), set(), "root")
    store.change_policy("console:bob", "customers wait", ttft_ms=250.0, mode="manual")
    with pytest.raises(ValueError, match="setting tpot_target_ms cannot be -1"):
        store.change_policy("console:bob", "a joke", tpot_ms=-1.0)
    store.stop()
    again = Store(tmp_path, ports)
    again.start()
    settings, sentence = again.settle(ServerArgs(), set(), "root")
    again.stop()
    assert (settings.ttft_target_ms, settings.tpot_target_ms, settings.policy) == (250.0, 50.0, "manual")
    assert "set by console:bob" in sentence
    with reading(tmp_path) as connection:
        history = queries.target_history(connection)
        marks = [mark["kind"] for mark in queries.marks(connection, 0.0)]
    assert [(row["set_by"], row["reason"]) for row in history] == [
        ("console:bob", "customers wait"), ("root", "The first start."),
    ]  # fmt: skip
    assert marks == ["start", "target", "target", "stop", "start", "stop"]
