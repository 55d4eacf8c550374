"""Profiles as they could have been measured, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from engine.allocation import Phase, Splitter
from engine.profile.conditions import Conditions
from engine.profile.key import ProfileKey
from engine.profile.record import MachineProfile, Pace, Rung, ShareTest

KEY = ProfileKey(
    device="NVIDIA H200",
    driver="580.159.03",
    versions={"torch": "2.11.0", "flashinfer-python": "0.6.13"},
    shape={"hidden_size": 4096},
    dtype="bfloat16",
    splitter=Splitter.MPS,
)
CONDITIONS = Conditions(chunk_tokens=2048, decode_lanes=64, context_tokens=704, seconds=2.0)


def a_profile(failed: Mapping[tuple[Phase, int], str] | None = None, key: ProfileKey = KEY) -> MachineProfile:
    """Of shares 25, 50 and 75: prefill's speed is its share, decode's a bit more than its own."""
    problems = failed or {}
    shares = (25, 50, 75)
    tests = [ShareTest(phase, 100, 132, 8) for phase in Phase]
    tests += [
        ShareTest(phase, share, share, 8, problems.get((phase, share), "")) for phase in Phase for share in shares
    ]
    rungs = []
    for share in shares:
        passed = (Phase.PREFILL, share) not in problems and (Phase.DECODE, 100 - share) not in problems
        paces = (Pace(10.0, 400.0 * share), Pace(5.0, 80.0 * (100 - share) + 1000)) if passed else ()
        rungs.append(Rung(share, 100 - share, *paces))
    return MachineProfile(
        key=key,
        measured_at="2026-11-22T10:00:00+00:00",
        seconds=60.0,
        conditions=CONDITIONS,
        tests=tuple(tests),
        whole_prefill=Pace(50.0, 40_000.0),
        whole_decode=Pace(6.4, 10_000.0),
        rungs=tuple(rungs),
    )


def a_crowded_profile() -> MachineProfile:
    """The same with 256 lanes too: a step of so many takes twice as long on the whole device, and decode's speed is its
    share."""
    measured = a_profile()
    rungs = [
        replace(rung, crowded=Pace(1280.0 / rung.decode_percentage, 200.0 * rung.decode_percentage))
        for rung in measured.rungs
    ]
    conditions = replace(CONDITIONS, many_lanes=256)
    return replace(measured, conditions=conditions, rungs=tuple(rungs), whole_crowded=Pace(12.8, 20_000.0))
