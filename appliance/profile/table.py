"""A profile on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from engine.allocation import WHOLE, Phase, SMAllocation
from engine.profile.record import MachineProfile, Pace, Rung


def show_profile(profile: MachineProfile, console: Console) -> None:
    """What it was measured on, a row a split, and what failed in words."""
    conditions, key = profile.conditions, profile.key
    few, many = conditions.decode_lanes, conditions.many_lanes
    lanes = f"{few} and {many}" if many else str(few)
    console.print(
        f"{key.device}, {key.dtype}, splitter {key.splitter}, measured {profile.measured_at} in {profile.seconds:.0f} s"
    )
    console.print(
        f"Prefill: prompts of {conditions.chunk_tokens} tokens. Decode: {lanes} lanes behind "
        f"{conditions.context_tokens} tokens. Each beside the other, busy one; on the whole device, alone."
    )
    console.print(f"Self-test: {_products(profile)} matrix products of the model's shapes in each split.")
    steps = [f"{count} lanes\nstep ms" for count in (few, *([many] if many else []))]
    table = Table("split", "SMs", "prefill\ntokens/s", *steps, "decode\ntokens/s", "self-test")
    whole = Rung(100, 100, profile.whole_prefill, profile.whole_decode, profile.whole_crowded)
    for rung in (whole, *profile.rungs):
        table.add_row(*_row(profile, rung))
    console.print(table)
    for test in profile.tests:
        if not test.passed:
            console.print(f"Not offered: {test.sentence}")


def _row(profile: MachineProfile, rung: Rung) -> tuple[str, ...]:
    """Tokens a second are those of the larger batch that was measured."""
    steps = (rung.decode, *([rung.crowded] if profile.conditions.many_lanes else []))
    return (
        "whole, alone" if rung.split == WHOLE else str(rung.split),
        _sms(profile, rung.split),
        _tokens(rung.prefill),
        *(f"{pace.step_ms:.2f}" if pace else "–" for pace in steps),
        _tokens(steps[-1]),
        _outcome(profile, rung.split),
    )


def _tokens(pace: Pace | None) -> str:
    return f"{pace.tokens_per_second:,.0f}" if pace else "–"


def _sms(profile: MachineProfile, split: SMAllocation) -> str:
    tests = [profile.test(phase, split.share(phase)) for phase in Phase]
    return " / ".join(str(test.sm_count or "–") if test else "–" for test in tests)


def _products(profile: MachineProfile) -> int:
    return sum(test.products for phase in Phase if (test := profile.test(phase, 100)))


def _outcome(profile: MachineProfile, split: SMAllocation) -> str:
    if failed := profile.failed(split):
        return " and ".join(test.phase for test in failed) + " failed"
    tests = [test for phase in Phase if (test := profile.test(phase, split.share(phase)))]
    return "passed" if tests else "not tested"
