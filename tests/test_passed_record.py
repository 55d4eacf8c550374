"""A run that ended early goes on where it ended, and a finished or changed project starts over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.passed_record import RECORD

ROOT = Path(__file__).parent.parent

SUITE = """
from pathlib import Path

def test_first(): pass
def test_second(): assert Path(".state").exists()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_suite.py").write_text(SUITE)
    return tmp_path


def run(project: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.passed_record", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()[-1]


def test_what_has_passed_is_not_run_again_until_all_has_passed(project: Path) -> None:
    assert run(project)[1].startswith("1 failed, 1 passed")

    assert run(project)[1].startswith("1 failed, 1 deselected")

    (project / ".state").mkdir()
    assert run(project)[1].startswith("1 passed, 1 deselected")

    assert not (project / RECORD).exists()
    assert run(project)[1].startswith("2 passed")


def test_a_changed_file_voids_the_record(project: Path) -> None:
    run(project)

    (project / "code.py").write_text("changed = True\n")

    assert run(project)[1].startswith("1 failed, 1 passed")


def test_a_run_that_was_killed_after_its_last_test_has_passed(project: Path) -> None:
    run(project)
    record = json.loads((project / RECORD).read_text())
    record["passed"].append("test_suite.py::test_second")
    (project / RECORD).write_text(json.dumps(record))

    code, summary = run(project)

    assert code == 0
    assert summary.startswith("2 deselected")
    assert not (project / RECORD).exists()
