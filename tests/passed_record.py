"""A record of the tests that have passed, so that an interrupted long run goes on where it ended.

A pytest plugin: `-p tests.passed_record` leaves out what the record says has passed and adds to it. The record holds
for one state of the project's files; a change of any, or a run in which nothing failed, ends it.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

RECORD = Path(".artifacts", "passed-tests.json")
_GENERATED = {"__pycache__", "build", "dist", "semi_pd.egg-info"}


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(PassedRecord(config.rootpath / RECORD, fingerprint(config.rootpath)))


class PassedRecord:
    """The node ids that have passed, one JSON object in a file, written after each test."""

    def __init__(self, path: Path, project: str):
        self._path = path
        self._project = project
        self._passed = self._read()

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        done = [item for item in items if item.nodeid in self._passed]
        if done:
            items[:] = [item for item in items if item.nodeid not in self._passed]
            config.hook.pytest_deselected(items=done)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self._passed.add(report.nodeid)
        elif report.failed:
            self._passed.discard(report.nodeid)
        if report.when == "teardown":
            self._write()

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK:
            self._path.unlink(missing_ok=True)
        elif exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self._passed:
            self._path.unlink(missing_ok=True)
            session.exitstatus = pytest.ExitCode.OK

    def _read(self) -> set[str]:
        if not self._path.exists():
            return set()
        record = json.loads(self._path.read_text())
        return set(record["passed"]) if record["project"] == self._project else set()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"project": self._project, "passed": sorted(self._passed)}))
        fresh.replace(self._path)


def fingerprint(root: Path) -> str:
    """A digest of the project's files; hidden and generated folders are none of them."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not (name.startswith(".") or name in _GENERATED))
        for path in (Path(folder, name) for name in sorted(files)):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
