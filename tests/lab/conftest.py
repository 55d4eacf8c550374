"""Machines for the tests of this folder: they take minutes, root, and permission to make namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab, make_bundle, require_lab, running_lab


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundle of version 0.1.0."""
    require_lab()
    folder = tmp_path_factory.mktemp("bundles")
    make_bundle(folder, "0.1.0")
    return folder


@pytest.fixture(scope="module")
def bare(bundles: Path) -> Iterator[Lab]:
    """A machine on which nothing is installed."""
    with running_lab("bare", bundles) as lab:
        yield lab


@pytest.fixture(scope="module")
def installed(bundles: Path) -> Iterator[Lab]:
    """A machine on which the appliance runs."""
    with running_lab("installed", bundles) as lab:
        said = lab.install()
        assert "REST endpoint  http://127.0.0.1:8000/v1" in said
        assert "Console        http://127.0.0.1:8080, one-time token" in said
        yield lab
