"""A profile on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from engine.allocation import WHOLE, Phase, SMAllocation
from engine.profile.record import MachineProfile, Pace


def show_profile(profile: MachineProfile, console: Console) -> None:
    """What it was measured on, a row a split, and what failed in words."""
    conditions, key = profile.conditions, profile.key
    console.print(
        f"{key.device}, {key.dtype}, splitter {key.splitter}, measured {profile.measured_at} in {profile.seconds:.0f} s"
    )
    console.print(
        f"Prefill: prompts of {conditions.chunk_tokens} tokens. Decode: {conditions.decode_lanes} lanes behind "
        f"{conditions.context_tokens} tokens. Each beside the other, busy one; on the whole device, alone."
    )
    console.print(f"Self-test: {_products(profile)} matrix products of the model's shapes in each split.")
    table = Table("split", "SMs", "prefill\ntokens/s", "decode\nstep ms", "decode\ntokens/s", "self-test")
    table.add_row(*_row(profile, WHOLE, profile.whole_prefill, profile.whole_decode))
    for rung in profile.rungs:
        table.add_row(*_row(profile, rung.split, rung.prefill, rung.decode))
    console.print(table)
    for test in profile.tests:
        if not test.passed:
            console.print(f"Not offered: {test.sentence}")


def _row(profile: MachineProfile, split: SMAllocation, prefill: Pace | None, decode: Pace | None) -> tuple[str, ...]:
    return (
        "whole, alone" if split == WHOLE else str(split),
        _sms(profile, split),
        f"{prefill.tokens_per_second:,.0f}" if prefill else "–",
        f"{decode.step_ms:.2f}" if decode else "–",
        f"{decode.tokens_per_second:,.0f}" if decode else "–",
        _outcome(profile, split),
    )


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
