"""What every test has: one compute thread a process, none of this shell's settings, no model hub."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.appliance import unused_port as find_unused_port

for _name in [name for name in os.environ if name.startswith("SEMI_PD_")]:
    del os.environ[_name]
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the `gpu` tests, with the reason, where there is no CUDA device."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not importlib.import_module("torch").cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))


@pytest.fixture
def runtime_dir() -> Iterator[Path]:
    """A private directory with a path short enough for Unix sockets, which `tmp_path` need not have."""
    path = Path(tempfile.mkdtemp(prefix="semi-pd-test-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def unused_port() -> int:
    """A TCP port on the loopback interface that nobody listens on."""
    return find_unused_port()
