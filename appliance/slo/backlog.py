"""Where work comes in faster than it goes out: what waits grows, and by how much tells the delay."""

from __future__ import annotations

from appliance.slo.profile import Speeds
from appliance.slo.target import SLOTarget
from appliance.slo.window import WindowSummary

IDLE_PART = 0.25
"""Of the chip: with so much of its speed unused, prefill is not what requests wait for."""
BURST = 0.1
"""Of a window's requests: so many may wait at a moment because they have just come together."""
PILE = 0.1
"""Of a window: who waits for longer than that, and than the target, waits for what was left undone before."""


def is_piled_up(seen: WindowSummary, rate: float | None, speed: float, target: SLOTarget) -> bool:
    """True if at the window's beginning or end more waited than a split that keeps up lets wait.

    What such a window shows is how long ago the load was too much, and not what the split does with this one.
    """
    if not rate:
        return False
    waiting = max(seen.waiting_prompt_tokens, seen.waited_prompt_tokens)
    return waiting / (rate * speed) > max(PILE * seen.seconds, target.ttft_target_ms / 1000)


def prefill_delay_ms(seen: WindowSummary, backlog: float, rate: float | None, other: float, next_load: float) -> float:
    """How long the prompt that comes at the next window's end would wait for those before it, at speed `other`.

    backlog' = max(0, backlog + (λ − x) · rate · window), delay = backlog' / (x · rate). `rate` is the whole chip's, in
    tokens a second, `backlog` in tokens.
    """
    if not rate:
        return 0.0
    left = max(0.0, backlog + (next_load - other) * rate * seen.seconds)
    return 1000 * left / (other * rate)


def waits_for_lanes(seen: WindowSummary, speed: float, load: float, target: SLOTarget) -> bool:
    """True if requests wait although prefill has time: for a place in the decode batch, or for pages.

    A few wait wherever prompts come in bursts. `load` is the most of what comes, what is forecast to come (where that
    has just grown, prefill had time only before) and what is computed: who works off a backlog has no time.
    """
    if seen.ttft_ms is None or not load or not seen.served_decode:
        return False
    is_late = seen.ttft_ms.p95 > target.ttft_target_ms
    return is_late and seen.waiting > BURST * seen.samples and speed - load > IDLE_PART * speed


def wait_for_lanes_ms(seen: WindowSummary, now: Speeds, other: Speeds) -> float:
    """The wait of now, and what decode would add to it, or take off, over a window at speed `other`."""
    assert seen.ttft_ms is not None
    offered = max(seen.offered.decode, seen.served_decode)
    capacity = seen.served_decode * other.decode / now.decode
    return max(0.0, seen.ttft_ms.p95 + (1 - capacity / offered) * 1000 * seen.seconds)
