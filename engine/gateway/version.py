"""Which version this is."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

_CHECKOUT = Path(__file__).parents[2] / "pyproject.toml"


def version() -> str:
    """As installed; of a checkout that is not installed, what it says of itself."""
    try:
        return importlib.metadata.version("semi-pd")
    except importlib.metadata.PackageNotFoundError:
        return tomllib.loads(_CHECKOUT.read_text("utf-8"))["project"]["version"]
