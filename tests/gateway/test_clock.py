"""The wall clock is set back under a gateway: gunicorn's master must go on hearing that its worker is well."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.gateway.running_gateway import PATIENCE_SECONDS, running_gateway
from tests.gateway.stand import MODEL
from tests.unkind_machine import UnkindMachine

pytestmark = pytest.mark.system

DAY = 86400


def test_a_worker_is_not_taken_for_stuck(model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = UnkindMachine(tmp_path)
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    with running_gateway(model_path) as gateway:
        worker = gateway.worker_pids[0]
        heard_before = heard_at(worker)
        machine.set_clock(-DAY)
        set_at = time.monotonic()
        while heard_at(worker) < set_at + 2:  # what was on its way already does not count
            assert time.monotonic() < set_at + PATIENCE_SECONDS, f"heard of last at {heard_before}, set at {set_at}"
        with gateway.client() as client:
            assert client.post("/v1/completions", json={"model": MODEL, "prompt": "Hi"}).status_code == 200


def heard_at(worker: int) -> float:
    """When the master heard of a worker last, on the monotonic clock: gunicorn keeps it as the time of a file."""
    files = Path(f"/proc/{worker}/fd").iterdir()
    return max(file.stat().st_mtime for file in files if "wgunicorn-" in str(file.readlink()))
