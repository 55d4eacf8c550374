from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.webui.stand import Browser, Stand


@pytest.fixture
def stand(runtime_dir: Path) -> Iterator[Stand]:
    with Stand(runtime_dir) as stand:
        yield stand


@pytest.fixture
def owner(stand: Stand) -> Browser:
    """The browser of the one who has claimed the console."""
    return stand.owner()
