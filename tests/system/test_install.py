"""install.sh as a user meets it: what it says, what it refuses, and both commands from a fresh clone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import IO

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parent.parent.parent

KEPT_VARIABLES = re.compile(r"PATH$|LANG$|PIP_|SSL_|REQUESTS_|https?_proxy$|no_proxy$", re.IGNORECASE)


def install(
    *arguments: str, script: Path = ROOT / "install.sh", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def has_gpu() -> bool:
    return Path("/dev/nvidiactl").exists()


def test_help_names_every_mode_and_option() -> None:
    done = install("--help")

    assert done.returncode == 0
    assert done.stderr == ""
    script = (ROOT / "tools" / "install" / "options.sh").read_text()
    parser = script[script.index("read_arguments() {") : script.index("set_mode() {")]
    understood = set(re.findall(r"--[a-z-]{2,}", "".join(re.findall(r"^ +--.*\)", parser, re.MULTILINE))))
    assert {"--help", "--run", "--test", "--full", "--model", "--upgrade", "--wheelhouse"} <= understood
    assert understood <= set(re.findall(r"--[a-z-]+", done.stdout))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--frobnicate"], "There is no option --frobnicate."),
        (["--run", "--test"], "--run and --test cannot be had at once."),
        (["--run", "--full"], "--full belongs to --test."),
        (["--test", "--port", "9000"], "--port belongs to --run and to the first installation."),
        (["--run", "--device=tpu"], "--device is auto, cuda or cpu, not 'tpu'."),
        (["--run", "--model"], "The option --model needs a value."),
        (["--run", "--dry-run"], "--dry-run does not belong to --run."),
        (["--check", "--purge"], "--purge belongs to --uninstall."),
        (["--check", "--", "--verbose"], "Options after -- belong to --run and --test."),
        (["--dry-run", "--prefix", "opt"], "--prefix is the absolute path of a folder, not 'opt'."),
        (["--dry-run", "--offline"], "--offline needs --wheelhouse."),
        (["--dry-run", "--wheelhouse", "/nowhere"], "There is no folder /nowhere."),
        (["--upgrade", "--port", "9000"], "--port belongs to --run and to the first installation."),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(arguments: list[str], sentence: str) -> None:
    done = install(*arguments)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"install.sh: {sentence} See ./install.sh --help.\n"


@pytest.fixture
def bare_copy(tmp_path: Path) -> Path:
    """The script in a folder where nothing is installed, with a space in its path."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    shutil.copy(ROOT / "install.sh", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "constraints", folder / "constraints")
    shutil.copytree(ROOT / "tools" / "install", folder / "tools" / "install")
    return folder / "install.sh"


def fake_pythons(folder: Path, script: str) -> str:
    """A PATH on which every Python that install.sh may try is `script`."""
    folder.mkdir()
    for name in ("python3", "python3.11", "python3.12"):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


WITHOUT_VENV = 'case "$2" in *ensurepip*) exit 1 ;; *print*) echo python3.11-venv ;; esac'


def test_a_python_without_venv_names_the_debian_package(bare_copy: Path, tmp_path: Path) -> None:
    path = fake_pythons(tmp_path / "bin", WITHOUT_VENV)

    done = install("--run", "--device", "cpu", script=bare_copy, PATH=path)

    assert done.returncode == 1
    assert done.stderr == (
        "install.sh: Missing on this machine: python3.11-venv. "
        "Install with 'apt-get install python3.11-venv', or as root with --system-packages.\n"
    )
    assert not (bare_copy.parent / ".venv").exists()


def test_no_python_that_will_do_names_the_debian_packages(bare_copy: Path, tmp_path: Path) -> None:
    path = fake_pythons(tmp_path / "bin", "exit 1")

    done = install("--run", "--device", "cpu", script=bare_copy, PATH=path)

    assert done.returncode == 1
    assert "Missing on this machine: python3 python3-venv." in done.stderr


def test_an_environment_of_somebody_else_is_left_alone(bare_copy: Path) -> None:
    treasure = bare_copy.parent / ".venv" / "treasure"
    treasure.parent.mkdir()
    treasure.touch()

    done = install("--run", "--device", "cpu", script=bare_copy)

    assert done.returncode == 1
    assert "is not of this script's making: move it away first." in done.stderr
    assert treasure.exists()


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_without_a_gpu_no_nvidia_package_is_installed() -> None:
    names = {distribution.metadata["Name"].lower() for distribution in distributions()}

    assert "torch" in names
    assert [name for name in names if name.startswith("nvidia-")] == []


SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed")
def test_shell_scripts_are_clean() -> None:
    assert SHELLCHECK
    tools = [*(ROOT / "tools").glob("*.sh"), *(ROOT / "tools" / "install").glob("*.sh")]
    scripts = [ROOT / "install.sh", ROOT / ".ci" / "run", *(ROOT / "systemd" / "bin").iterdir(), *tools]
    done = subprocess.run(
        [SHELLCHECK, "--external-sources", *scripts], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.stdout == ""
    assert done.returncode == 0


# ── both commands, from a fresh clone with an empty home ────────────────────────────────────────────────────────────


@pytest.fixture
def fresh_clone(tmp_path: Path) -> Path:
    """What Git tracks or would track, as it stands, in a folder with a space in its path."""
    clone = tmp_path / "fresh clone"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    for name in filter(lambda name: (ROOT / name).is_file(), names):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    return clone


@pytest.fixture
def bare_environment(tmp_path: Path) -> dict[str, str]:
    """An empty home, and of this shell's variables only those that say where packages are."""
    home = tmp_path / "home"
    home.mkdir()
    return {name: value for name, value in os.environ.items() if KEPT_VARIABLES.match(name)} | {"HOME": str(home)}


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU, and the clone is for one without")
def test_both_commands_work_from_a_fresh_clone(
    fresh_clone: Path, bare_environment: dict[str, str], unused_port: int
) -> None:
    script = str(fresh_clone / "install.sh")

    tests = [script, "--test", "--", "-q", "tests/system/test_install.py", "-k", "help or nvidia"]
    tested = subprocess.run(tests, cwd="/", env=bare_environment, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout

    serving = subprocess.Popen(
        [script, "--run", "--port", str(unused_port), "--console-port", "0"],
        cwd="/",
        env=bare_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert serving.stdout is not None
    try:
        curl = read_until(serving.stdout, "curl ")
        assert f"127.0.0.1:{unused_port}" in curl
        answered = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True)
        assert '"choices"' in answered.stdout
    finally:
        os.killpg(serving.pid, signal.SIGINT)
        serving.communicate(timeout=60)
    assert serving.returncode == 0


def read_until(output: IO[str], words: str) -> str:
    """The first command in `output` that begins with `words`, continuation lines joined."""
    seen = []
    for line in output:
        seen.append(line)
        if words in line:
            command = line[line.index(words) :]
            while command.rstrip().endswith("\\"):
                command = command.rstrip()[:-1] + next(output)
            return command
    raise AssertionError("The appliance ended before it served:\n" + "".join(seen))
