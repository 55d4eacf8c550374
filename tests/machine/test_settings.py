"""A machine's settings, from files to what a start's processes read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from appliance.machine.addresses import addresses
from appliance.machine.last_split import LastSplit
from appliance.machine.prepare import environments, write_environments
from appliance.machine.settings import read_settings
from engine.allocation import SMAllocation
from engine.config import Mode, PortArgs, ServerArgs
from engine.errors import CANNOT_START, CannotStart

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "semi-pd.toml").write_text('port = 9000\nserved_model_name = "mine"\n')
    return tmp_path


def test_what_comes_later_wins_and_the_rest_has_its_default(etc: Path) -> None:
    (etc / "conf.d" / "10-port.toml").write_text("port = 9001\n")
    (etc / "conf.d" / "20-port.toml").write_text("port = 9002\n")
    settings = read_settings(etc)
    assert (settings.port, settings.served_model_name, settings.page_size) == (9002, "mine", 16)


def test_the_file_that_is_installed_changes_no_default(tmp_path: Path) -> None:
    (tmp_path / "semi-pd.toml").write_text((ROOT / "systemd" / "etc" / "semi-pd.toml").read_text())
    assert read_settings(tmp_path) == ServerArgs()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("page_size = 0", "The setting page_size cannot be 0"),
        ("pages = 1", "The setting pages cannot be 1"),
        ("port = ", "are not TOML"),
    ],
)
def test_what_cannot_be_is_one_sentence_that_says_where(etc: Path, text: str, sentence: str) -> None:
    (etc / "conf.d" / "90-wrong.toml").write_text(text)
    with pytest.raises(CannotStart, match=sentence) as refused:
        read_settings(etc)
    assert str(etc) in str(refused.value)


def test_a_start_that_cannot_be_says_so_to_systemd(etc: Path, tmp_path: Path) -> None:
    (etc / "conf.d" / "90-wrong.toml").write_text("page_size = 0")
    command = [sys.executable, "-m", "appliance.machine.prepare", str(etc), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == CANNOT_START
    assert done.stderr.startswith("The setting page_size cannot be 0")


def test_the_ports_are_told_in_systemds_form() -> None:
    assert addresses(ServerArgs(host="::1", port=9000, console_port=0)) == {"semi-pd-gateway": "[::1]:9000"}


def test_a_cpu_needs_no_environment() -> None:
    assert environments(ServerArgs().for_device("cpu"), PortArgs(Path("/run/semi-pd"))) == {}


def test_on_a_gpu_each_slot_has_its_daemon_and_the_resident_has_none(tmp_path: Path) -> None:
    settings = ServerArgs(gpu="3").for_device("cuda")
    wanted = environments(settings, PortArgs(Path("/run/semi-pd")))
    assert set(wanted) == {"resident", "group-a", "group-b", "mps-a", "mps-b"}
    assert wanted["mps-a"]["CUDA_VISIBLE_DEVICES"] == wanted["resident"]["CUDA_VISIBLE_DEVICES"] == "3"
    assert wanted["group-a"]["CUDA_VISIBLE_DEVICES"] == "0", "the daemon counts anew"
    pipes = {name: environment["CUDA_MPS_PIPE_DIRECTORY"] for name, environment in wanted.items()}
    assert pipes["group-a"] == pipes["mps-a"] != pipes["mps-b"] == pipes["group-b"]
    assert pipes["resident"] not in (pipes["mps-a"], pipes["mps-b"])
    write_environments(wanted, tmp_path)
    write_environments(environments(settings.model_copy(update={"mode": Mode.COLOCATED}), PortArgs(tmp_path)), tmp_path)
    assert {path.name for path in tmp_path.glob("*.env")} == {"resident.env", "group-a.env", "group-b.env"}


def test_the_last_split_is_kept_until_the_next_start(tmp_path: Path) -> None:
    kept = LastSplit(tmp_path)
    assert kept.read() is None
    kept.keep(SMAllocation(60, 40))
    kept.keep(None)
    assert LastSplit(tmp_path).read() == SMAllocation(60, 40)
    kept.forget()
    assert kept.read() is None
