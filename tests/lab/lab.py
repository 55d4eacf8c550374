"""A machine with a real systemd for a test, made by tools/systemd-lab.sh, and bundles to install there."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "tools" / "systemd-lab.sh"
LOCK = ROOT / "constraints" / "cpu-3.11.lock"
LAB_HOME = Path(os.environ.get("LAB_HOME", "/var/tmp/semi-pd-lab"))
INSTALL = "/mnt/bundles/{version}/install.sh"
OFFLINE = ("--offline", "--wheelhouse", "/mnt/wheelhouse")


def require_lab() -> None:
    """Skip, with the reason, where this box does not permit a machine of its own."""
    can = subprocess.run([SCRIPT, "can"], capture_output=True, text=True, check=False)
    if can.returncode:
        pytest.skip(can.stderr.strip())


def wheelhouse() -> Path:
    """The packages of the lock, fetched once."""
    folder = LAB_HOME / f"wheels-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    python = shutil.which("python3.11")
    if python is None:
        pytest.skip("the packages are fetched with the lab's Python, and there is no python3.11 here")
    if not (folder / ".complete").exists():
        fetch = [ROOT / "tools" / "wheelhouse.sh", folder, "--device", "cpu", "--python", python]
        subprocess.run(fetch, check=True)
        (folder / ".complete").touch()
    return folder


class Lab:
    """One machine. `bundles` holds a folder for each version that can be installed in it."""

    def __init__(self, name: str, bundles: Path):
        self.name = name
        self.bundles = bundles
        self._environment = {**os.environ, "LAB_SHOW": f"{bundles}:bundles {wheelhouse()}:wheelhouse"}

    def up(self) -> None:
        self._script("up")

    def cut(self) -> None:
        """What a power failure does to its processes."""
        self._script("cut")

    def off(self) -> None:
        self._script("off")

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A command in the machine, as root, whose output is to be read."""
        whole = [str(SCRIPT), "in", self.name, *command]
        return subprocess.Popen(
            whole, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *command: str, status: int = 0) -> str:
        """The output of a command that must end with `status`."""
        process = self.start(*command)
        output, _ = process.communicate()
        assert process.returncode == status, f"{command} ended with {process.returncode}:\n{output}"
        return output

    def install(self, *options: str, version: str = "0.1.0", status: int = 0) -> str:
        return self.run(INSTALL.format(version=version), *OFFLINE, *options, status=status)

    def files(self, *folders: str) -> set[str]:
        """Every path below these folders."""
        return set(self.run("find", *folders, "-xdev").splitlines())

    @contextmanager
    def until_said(self, unit: str, words: str) -> Iterator[None]:
        """Go on when the unit's journal has said, after what is done within, these words."""
        said = self.run("journalctl", "--lines", "0", "--show-cursor", "--quiet")
        cursor = said.strip().removeprefix("-- cursor: ")
        yield
        follow = f"journalctl --follow --no-tail --after-cursor '{cursor}' --output cat --unit {unit}"
        self.run("bash", "-c", f"grep --quiet --max-count 1 '{words}' < <({follow})")

    def is_active(self, unit: str) -> bool:
        return self.run("systemctl", "show", "--value", "--property", "ActiveState", unit).strip() == "active"

    def main_pid(self, unit: str) -> int:
        return int(self.run("systemctl", "show", "--value", "--property", "MainPID", unit))

    def _script(self, command: str) -> None:
        subprocess.run([SCRIPT, command, self.name], env=self._environment, check=True)


@contextmanager
def running_lab(name: str, bundles: Path) -> Iterator[Lab]:
    """A machine that is up, and gone at the end."""
    lab = Lab(f"{name}-{os.getpid()}", bundles)
    lab.off()
    lab.up()
    try:
        yield lab
    finally:
        lab.off()


def make_bundle(folder: Path, version: str) -> Path:
    """The project's files as they stand, as a bundle of this version."""
    bundle = folder / version
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    for name in filter(lambda name: (ROOT / name).is_file() and not name.startswith("tests/"), names):
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, bundle / name)
    project = bundle / "pyproject.toml"
    project.write_text(re.sub(r'^version = ".*"$', f'version = "{version}"', project.read_text(), flags=re.MULTILINE))
    return bundle
