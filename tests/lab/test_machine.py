"""Machines of tools/systemd-lab.sh over other files than those of its own tree."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import SCRIPT, require_lab

pytestmark = [
    pytest.mark.long,
    pytest.mark.system,
    pytest.mark.skipif(not Path("/lib/systemd/systemd").exists(), reason="this box has no systemd to be booted"),
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="there is no dpkg-deb to make a package with"),
]


def package(folder: Path, files: dict[str, str]) -> None:
    """`extra.deb` in `folder`, as Debian's were before /lib was a link."""
    tree = folder / "tree"
    for name, content in {"DEBIAN/control": CONTROL, **files}.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(content)
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, folder / "extra.deb"], check=True)


CONTROL = """Package: extra
Version: 1
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: what the box has not, and what it has
"""


@pytest.fixture
def disks() -> Iterator[Path]:
    """A folder that is not on the box's own disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def device() -> Iterator[Path]:
    """Like /dev/null, in a folder of its own; it takes root, as the lab does."""
    require_lab()
    path = Path(f"/dev/semi-pd-{os.getpid()}/null")
    path.parent.mkdir()
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    yield path
    shutil.rmtree(path.parent)


def test_the_box_s_own_files_devices_and_packages_that_it_lacks(runtime_dir: Path, disks: Path, device: Path) -> None:
    package(runtime_dir, {"lib/semi-pd-extra": "of the package", "etc/os-release": "of the package"})
    machine = {"LAB_HOME": disks, "LAB_TREE": "/", "LAB_PACKAGES": runtime_dir, "LAB_DEVICES": f"{device.parent}*"}
    environment = {**os.environ, **{name: str(value) for name, value in machine.items()}}

    def lab(*arguments: str) -> str:
        whole = [str(SCRIPT), *arguments]
        return subprocess.run(whole, env=environment, capture_output=True, text=True, check=True).stdout

    lab("up", "own")
    try:
        assert lab("in", "own", "cat", "/usr/lib/semi-pd-extra") == "of the package"
        assert lab("in", "own", "cat", "/etc/os-release") == Path("/etc/os-release").read_text()
        assert lab("in", "own", "stat", "--format", "%F", str(device)).strip() == "character special file"
        lab("in", "own", "touch", "/usr/lib/semi-pd-own")
        assert not Path("/usr/lib/semi-pd-own").exists()
    finally:
        lab("off", "own")
