"""install.sh takes kernels that another machine has built into a release, once, and tells the services' user."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from appliance.prebuilt import export
from engine.config import DEMO_MODEL
from engine.kernel_cache import KernelCache, KernelNeeds

pytestmark = pytest.mark.system

ROOT = Path(__file__).parent.parent.parent
VERSIONS = {"flashinfer-python": "0.6.13"}
NEEDS = KernelNeeds.of(DEMO_MODEL, "bfloat16", "9.0")

CHAPTERS = f"""
set -euo pipefail
ROOT={ROOT} BUILD=cuda DRY_RUN=no VERSION=1.0 WHEELHOUSE=''
for chapter in options environment prerequisites machine; do source $ROOT/tools/install/$chapter.sh; done
LOG=$PREFIX/log CHANGES=0
choose_kernels
ensure_kernels
"""


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A release with an environment of its own, and in `kernels` what is to be taken."""
    release = tmp_path / "prefix" / "releases" / "1.0"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", release / "venv"], check=True)
    (release / "source").symlink_to(ROOT)
    runuser = tmp_path / "bin" / "runuser"
    runuser.parent.mkdir()
    runuser.write_text('#!/bin/sh\nshift 3\nexec "$@"\n')
    runuser.chmod(0o755)
    built = KernelCache(tmp_path / "built")
    module = built.root / ".cache/flashinfer/0.6.13/90a/cached_ops/page/page.so"
    module.parent.mkdir(parents=True)
    module.write_text("machine code")
    (built.root / "triton").mkdir()
    built.note(NEEDS, VERSIONS, "580.1")
    export(built, "9.0", VERSIONS, tmp_path / "kernels")
    return tmp_path / "prefix"


def take(prefix: Path) -> subprocess.CompletedProcess[str]:
    folder = prefix.parent
    environment = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "FLASHINFER_WORKSPACE_BASE": str(folder / "here"),
        "PREFIX": str(prefix),
        "KERNELS": str(folder / "kernels"),
    }
    return subprocess.run(["bash", "-c", CHAPTERS], env=environment, capture_output=True, text=True, check=False)


def test_they_are_where_flashinfer_looks_and_the_record_says_so(prefix: Path) -> None:
    done = take(prefix)
    assert done.returncode == 0, done.stderr
    assert "take the GPU kernels in" in done.stdout
    found = list(prefix.glob("releases/1.0/venv/lib/python*/site-packages/flashinfer/data/aot/page/page.so"))
    assert [path.read_text() for path in found] == ["machine code"]
    built = KernelCache(prefix.parent / "here").built()
    assert built is not None and built.needs == (NEEDS,)
    assert take(prefix).stdout == ""


def test_a_damaged_folder_is_refused_and_nothing_is_taken(prefix: Path) -> None:
    (prefix.parent / "kernels" / "modules" / "page" / "page.so").write_text("half")
    done = take(prefix)
    assert done.returncode == 1 and "is damaged: copy it again" in done.stderr
    assert not list(prefix.glob("releases/1.0/venv/lib/python*/site-packages/flashinfer"))
