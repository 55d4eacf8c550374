"""Profiles that are made, of shares that can be had and of shares that cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.profile.fitting import key_of
from appliance.profile.make import make_profile
from engine.allocation import Phase, SMAllocation, Splitter
from engine.config import ServerArgs

pytestmark = [pytest.mark.system, pytest.mark.long]

SETTINGS = ServerArgs().for_device("cpu")


def test_a_share_whose_probe_fails_is_not_offered_and_the_next_is_tried(tmp_path: Path) -> None:
    """The CPU has no `mps`: each pair of probes ends as soon as it is to take its parts, as after a fault of a GPU."""
    impossible = SETTINGS.model_copy(update={"splitter": Splitter.MPS})
    said: list[str] = []
    made = make_profile(impossible, key_of(impossible), 35, tmp_path, said.append)
    assert said == ["the whole device", "prefill 35 %, decode 65 %", "prefill 70 %, decode 30 %"]
    assert made.offered == []
    assert [rung.prefill for rung in made.rungs] == [None, None]
    assert made.passing_shares(Phase.PREFILL) == made.passing_shares(Phase.DECODE) == [100]
    (failed, _) = made.failed(SMAllocation(35, 65))
    assert failed.sentence.startswith("Prefill at 35 % failed the self-test: its process ended with code")
    assert made.whole_prefill.tokens_per_second > 0 and made.whole_decode.tokens_per_second > 0
