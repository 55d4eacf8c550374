"""Writes `constraints/cpu-3.11.lock` and the like: every file an installation may take, with its SHA-256.

    python3.11 tools/lock.py cpu

For the Python that runs this, whose pip says which files it would take; versions are those of `constraints/cpu.txt`. An
installation that goes by the lock takes these very files or none, from whatever index or folder they come.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
XGRAMMAR = "xgrammar"
"""Taken without what it asks for: see docs/decisions/0013-structured-output.md."""
PYTHON = "{}.{}".format(*sys.version_info)
HEAD = "# Made by `python{python} tools/lock.py {build}`: what an installation takes, nothing else. Not for editing.\n"


class Pinned(NamedTuple):
    """A file as pip found it."""

    name: str
    version: str
    sha256: str


def pinned_version(name: str, constraints: str) -> str:
    """The version a constraints file gives a package."""
    match = re.search(rf"^{name}==(\S+)", constraints, re.MULTILINE)
    assert match, f"{name} is not pinned"
    return match[1]


def requirements(build: str, constraints: str) -> list[str]:
    """What an installation on this kind of machine asks pip for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], "setuptools"]
    if build == "cpu":
        torch = f"torch=={pinned_version('torch', constraints)}+cpu"
        return [torch if name.startswith("torch") else name for name in wanted]
    return wanted + project["optional-dependencies"]["cuda"]


def resolved(asked: list[str], constraints: str, *options: str) -> list[Pinned]:
    """The wheels pip would install."""
    with tempfile.TemporaryDirectory() as folder:
        (limits := Path(folder) / "constraints.txt").write_text(constraints)
        report = Path(folder) / "report.json"
        pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--only-binary=:all:"]
        where = ["--report", str(report), "--constraint", str(limits), "--quiet"]
        subprocess.run([*pip, *where, *options, *asked], check=True)
        found = json.loads(report.read_text())["install"]
    return [
        Pinned(
            re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(),
            item["metadata"]["version"],
            item["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for item in found
    ]


def lock(build: str) -> str:
    """The lock's text."""
    constraints = (ROOT / "constraints" / f"{build}.txt").read_text()
    asked = requirements(build, constraints)
    if build == "cpu":  # pip takes "X+cpu" for no version of the constraint "X"
        constraints = re.sub(r"^torch==.*$", "", constraints, flags=re.MULTILINE)
    files = set(resolved(asked, constraints))
    files |= set(resolved([f"{XGRAMMAR}=={pinned_version(XGRAMMAR, constraints)}"], constraints, "--no-deps"))
    return HEAD.format(python=PYTHON, build=build) + "".join(lines(files))


def lines(files: set[Pinned]) -> list[str]:
    """pip's format for what it may take: a version and the hashes of its files."""
    hashes: dict[tuple[str, str], list[str]] = {}
    for file in sorted(files):
        hashes.setdefault((file.name, file.version), []).append(f" --hash=sha256:{file.sha256}")
    return [f"{name}=={version}{''.join(told)}\n" for (name, version), told in hashes.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", choices=("cpu", "cuda"))
    build = parser.parse_args().build
    (ROOT / "constraints" / f"{build}-{PYTHON}.lock").write_text(lock(build))


if __name__ == "__main__":
    main()
