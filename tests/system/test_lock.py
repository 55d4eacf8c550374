"""The locks name what the project asks for, at the versions of the constraints, each file by its hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LOCKS = sorted((ROOT / "constraints").glob("*.lock"))
PACKAGE = re.compile(r"([a-z0-9-]+)==(\S+)((?: --hash=sha256:[0-9a-f]{64})+)")

every_lock = pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(lock: Path) -> dict[str, str]:
    """Package to version; a line that is anything else than a package with its hashes is a fault."""
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    matches = [PACKAGE.fullmatch(line) for line in lines]
    assert all(matches), lines
    return {match[1]: match[2] for match in matches if match}


def asked(build: str) -> set[str]:
    """What pyproject.toml asks for on such a machine."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + (project["optional-dependencies"]["cuda"] if build == "cuda" else [])
    names = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in wanted)
    return {canonical(name[0]) for name in names if name} | {"setuptools", "xgrammar"}


def test_debians_python_has_both() -> None:
    assert {"cpu-3.11", "cuda-3.11"} <= {lock.stem for lock in LOCKS}


@every_lock
def test_everything_asked_for_is_there(lock: Path) -> None:
    missing = asked(lock.stem.split("-")[0]) - set(locked(lock))
    assert not missing, f"make it again with tools/lock.py: {sorted(missing)}"


@every_lock
def test_versions_are_those_of_the_constraints(lock: Path) -> None:
    text = (ROOT / "constraints" / f"{lock.stem.split('-')[0]}.txt").read_text()
    pinned: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE):
        pinned.setdefault(canonical(name), set()).add(version)
    for name, version in locked(lock).items():
        assert version.split("+")[0] in pinned[name], f"{name} {version}"
