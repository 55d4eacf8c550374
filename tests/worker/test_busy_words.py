"""What two workers of a group see of each other, across processes and epochs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.allocation import Phase
from engine.worker.busy_words import BusyWords
from engine.worker.other_phase import OtherPhase

OTHER_PROCESS = """
import sys
from pathlib import Path
from engine.allocation import Phase
from engine.worker.busy_words import BusyWords
from engine.worker.other_phase import OtherPhase
prefill = OtherPhase(BusyWords.open(Path(sys.argv[1])), Phase.PREFILL, "a", epoch=3)
assert not prefill.is_idle
prefill.tell(is_busy=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "busy-words"


def other_of(path: Path, phase: Phase, slot: str = "a", epoch: int = 3) -> OtherPhase:
    return OtherPhase(BusyWords.open(path), phase, slot, epoch)


def test_each_sees_the_other_and_not_itself(path: Path) -> None:
    prefill, decode = other_of(path, Phase.PREFILL), other_of(path, Phase.DECODE)
    assert prefill.is_idle and decode.is_idle
    prefill.tell(is_busy=True)
    assert prefill.is_idle and not decode.is_idle
    prefill.tell(is_busy=False)
    assert decode.is_idle


def test_it_is_seen_in_another_process(path: Path) -> None:
    decode = other_of(path, Phase.DECODE)
    decode.tell(is_busy=True)
    subprocess.run([sys.executable, "-c", OTHER_PROCESS, str(path)], check=True)
    assert not decode.is_idle
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_worker_left_that_ended_while_busy_is_idle(path: Path) -> None:
    other_of(path, Phase.PREFILL, epoch=3).tell(is_busy=True)
    assert not other_of(path, Phase.DECODE, epoch=3).is_idle
    assert other_of(path, Phase.DECODE, epoch=5).is_idle, "that was another worker"


def test_slots_do_not_disturb_each_other(path: Path) -> None:
    other_of(path, Phase.PREFILL, slot="a").tell(is_busy=True)
    other_of(path, Phase.PREFILL, slot="b", epoch=4).tell(is_busy=False)
    assert not other_of(path, Phase.DECODE, slot="a").is_idle
    assert other_of(path, Phase.DECODE, slot="b", epoch=4).is_idle
