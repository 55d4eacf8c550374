"""What must stay light stays light: import-linter reads the sources, this looks at a process that imported them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

IMPORT_ALL = """
import importlib, pkgutil, sys

for name in sys.argv[1:]:
    module = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""

WITHOUT_TORCH = (
    "appliance",
    "engine.allocation",
    "engine.config",
    "engine.errors",
    "engine.gateway",
    "engine.leader",
    "engine.request",
    "engine.scheduler",
    "engine.wire",
)


def packages_after_importing(*names: str) -> set[str]:
    command = [sys.executable, "-c", IMPORT_ALL, *names]
    return set(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout.split())


def test_deciding_serving_and_supervising_processes_load_no_torch() -> None:
    loaded = packages_after_importing(*WITHOUT_TORCH)

    assert {"engine", "appliance", "msgspec"} <= loaded
    assert loaded.isdisjoint({"torch", "transformers", "flashinfer"})
