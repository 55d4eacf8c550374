"""Versions of what is installed."""

from __future__ import annotations

import platform
import sqlite3
from importlib import metadata

PACKAGES = ("torch", "flashinfer-python", "pyzmq", "gunicorn", "flask", "sqlalchemy")


def version_of(package: str) -> str:
    """Empty for one that is not installed; ours may run from its source."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def installed() -> dict[str, str]:
    """What a report of a fault should name."""
    found = {"Semi-PD": version_of("semi-pd"), **{package: version_of(package) for package in PACKAGES}}
    found |= {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version, "Linux": platform.release()}
    return {name: version for name, version in found.items() if version}
