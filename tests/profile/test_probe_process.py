"""Real probes beside a real resident, on the CPU."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from appliance.profile.pace import pace_alone
from appliance.profile.probe_process import ProbeLost, ProbeProcess
from appliance.profile.rig import Rig
from engine.allocation import WHOLE, Phase, SMAllocation
from engine.config import PortArgs, ServerArgs
from engine.errors import CannotStart
from engine.profile.conditions import Conditions
from engine.profile.messages import Open, Opened, Take, Taken, Work, Worked

pytestmark = pytest.mark.system

SETTINGS = ServerArgs().for_device("cpu")
CONDITIONS = Conditions.of(SETTINGS, 50)


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    before = children()
    with Rig(SETTINGS, CONDITIONS, [SMAllocation(50, 50)], tmp_path_factory.mktemp("log")) as rig:
        yield rig
    assert children() == before, "everything it started has ended"


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[ProbeProcess]:
    ports = PortArgs.init_new(SETTINGS)
    probe = ProbeProcess(Phase.DECODE, ports, tmp_path / "probe.log", dict(os.environ))
    yield probe
    probe.dismiss()
    ports.settings_file.unlink()
    ports.runtime_dir.rmdir()


def test_both_phases_are_tested_and_timed_at_a_split(rig: Rig) -> None:
    pair = rig.open(WHOLE)
    tests = pair.test(SMAllocation(50, 50))
    assert [(test.phase, test.share, test.problem) for test in tests] == [
        (Phase.PREFILL, 50, ""),
        (Phase.DECODE, 50, ""),
    ]
    assert all(test.products for test in tests)
    found = pair.paces(CONDITIONS.decode_lanes)
    assert found is not None
    assert found.prefill.tokens_per_second > 0 and found.decode.step_ms > 0
    alone = pair.decode_alone(1)
    assert alone is not None and alone.step_ms > 0
    assert pair.lost == []


def test_a_probe_that_is_killed_is_noticed_and_named(rig: Rig) -> None:
    pair = rig.open(WHOLE)
    (decode,) = [child for child in children() if child.cmdline()[-1] == "decode"]
    decode.send_signal(signal.SIGKILL)
    with pytest.raises(ProbeLost, match="ended with code -9"):
        pair.test(SMAllocation(50, 50))
    assert pair.lost == [Phase.DECODE]
    rig.dismiss(WHOLE)
    assert all(not test.problem for test in rig.open(WHOLE).test(SMAllocation(50, 50))), "new ones take their place"


def test_a_model_that_cannot_be_served_is_said_and_nothing_stays(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text((SETTINGS.model_path / "config.json").read_text())
    settings = ServerArgs(model_path=model, kv_memory_bytes=1).for_device("cpu")
    before = children()
    (model / "config.json").unlink()
    with pytest.raises(CannotStart, match=r"config\.json"), Rig(settings, CONDITIONS, [], tmp_path):
        pass
    assert children() == before


def test_a_probe_without_orders_ends_by_itself_and_one_without_a_resident_says_so(probe: ProbeProcess) -> None:
    probe.send(Open(CONDITIONS))
    with pytest.raises(ProbeLost, match="No resident answers"):
        probe.receive(Opened, 60.0)
    assert probe.has_ended


def test_decode_rests_for_its_share(rig: Rig) -> None:
    """What is asserted is the order, by a wide margin: a tenth of the CPU is slower than all of it."""
    pair = rig.open(WHOLE)
    seconds = []
    probe = pair.probe(Phase.DECODE)
    for share in (100, 10):
        probe.send(Take(100, share))
        assert probe.receive(Taken, 60.0) == Taken(0)
        probe.send(Work(0.5, CONDITIONS.decode_lanes))
        pace = pace_alone(probe.receive(Worked, 60.0), CONDITIONS.decode_lanes)
        assert pace is not None
        seconds.append(pace.step_ms)
    assert seconds[0] < seconds[1]
