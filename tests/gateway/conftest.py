"""The tiny model, made once, and a test stand for each file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.stand import Stand
from tests.gateway.tiny_model import save_tiny_model


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def stand_of_file(model_path: Path) -> Iterator[Stand]:
    with Stand(model_path) as stand:
        yield stand


@pytest.fixture
def stand(stand_of_file: Stand) -> Stand:
    stand_of_file.reset()
    return stand_of_file
