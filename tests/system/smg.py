"""SMG, a router that others make, in front of appliances: started as docs/howto/scale-out.md says."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.system.appliance import unused_port

EXECUTABLE = shutil.which(os.environ.get("SMG", "smg"))
WHY_SKIPPED = "no smg here: `pip install smg` in an environment of its own, and give its command's path as SMG"
OPTIONS = (
    *("--host", "127.0.0.1", "--prometheus-host", "127.0.0.1"),
    *("--policy", "round_robin", "--disable-circuit-breaker"),
    *("--health-check-interval-secs", "1", "--load-monitor-interval", "1"),
)
STOP_SECONDS = 60.0


class Router:
    """A running SMG. `url` is its endpoint."""

    def __init__(self, url: str, api_key: str):
        self.url = url
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {api_key}"}, timeout=10.0, trust_env=False
        )

    def load(self, box: str) -> dict[str, Any]:
        """What it last read from a box's metrics; empty before the first reading."""
        return self._worker(box).get("engine_load", {}).get("loads", [{}])[0]

    def takes(self, box: str) -> bool:
        """It would send requests to that box."""
        return bool(self._worker(box).get("is_healthy"))

    def close(self) -> None:
        self._client.close()

    def _worker(self, box: str) -> dict[str, Any]:
        try:
            workers = self._client.get("/workers").json()["workers"]
        except httpx.ConnectError:  # it is starting
            return {}
        return next((worker for worker in workers if worker["url"] == box), {})


@contextmanager
def running_router(boxes: Sequence[str], api_key: str, log: Path) -> Iterator[Router]:
    """SMG in front of the appliances at these addresses, all of which know `api_key`."""
    assert EXECUTABLE is not None
    port = unused_port()
    ports = ("--port", str(port), "--prometheus-port", str(unused_port()))
    command = [EXECUTABLE, "launch", *OPTIONS, *ports, "--api-key", api_key, "--worker-urls", *boxes]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    router = Router(f"http://127.0.0.1:{port}", api_key)
    try:
        yield router
    finally:
        router.close()
        process.terminate()
        process.wait(STOP_SECONDS)
