"""Orders rotations from the running appliance, one after another, and notes what became of each."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from appliance.control.client import Conversation
from appliance.control.messages import AskRotation, AskRotations, Reply
from appliance.instance import Instance
from appliance.rotation.history import Way
from bench.rotation.timeline import Moments
from engine.allocation import SMAllocation

ROTATION_SECONDS = 180.0
GONE_SECONDS = 90.0
LOOK_SECONDS = 0.05


class Outcome(NamedTuple):
    """What became of one order; `moments` is None where `problem` says why it was not made."""

    split: SMAllocation
    moments: Moments | None
    problem: str


class Orders:
    """In a thread of its own, so that the event loop that reads the streams never waits for the controller."""

    def __init__(self, instance: Instance, now: Callable[[], float], *, in_place: bool = False):
        self._now = now
        self._in_place = in_place
        self._controller = Conversation(instance)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="orders")

    async def rotate(self, splits: Sequence[SMAllocation], rest_seconds: float) -> list[Outcome]:
        """To each in turn; `rest_seconds` after an old group has gone, or a split was taken, comes the next order."""
        outcomes = list[Outcome]()
        for split in splits:
            await asyncio.sleep(rest_seconds)
            outcomes.append(await asyncio.get_running_loop().run_in_executor(self._thread, self._rotate, split))
        return outcomes

    def close(self) -> None:
        self._thread.shutdown()
        self._controller.close()

    def _rotate(self, split: SMAllocation) -> Outcome:
        ordered = self._now()
        shares = (split.prefill_percentage, split.decode_percentage)
        order = AskRotation(*shares, new_group=not self._in_place, reason="bench")
        reply = self._controller.ask(order, ROTATION_SECONDS)
        if not reply.done:
            return Outcome(split, None, reply.sentence)
        if self._in_place:
            return in_place(split, ordered, json.loads(reply.data))
        return self._when_gone(split, ordered, reply)

    def _when_gone(self, split: SMAllocation, ordered: float, reply: Reply) -> Outcome:
        """The rotation is over when the group that it replaced has ended."""
        record, deadline = json.loads(reply.data), time.monotonic() + GONE_SECONDS
        while record["old_gone_seconds"] is None and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            record = self._record(record["number"]) or record
        if record["old_gone_seconds"] is None:
            return Outcome(split, None, f"The old group was still there after {GONE_SECONDS:g} s.")
        return Outcome(split, _moments(ordered, record), "")

    def _record(self, number: int) -> dict[str, Any] | None:
        records = json.loads(self._controller.ask(AskRotations(4)).data)
        return next((record for record in records if record["number"] == number), None)


def in_place(split: SMAllocation, ordered: float, record: dict[str, Any]) -> Outcome:
    """The hand-over is the whole of it. A split that was not prepared counts as one that was not taken."""
    if record["way"] != Way.IN_PLACE:
        return Outcome(split, None, f"It was {record['way'] or 'in force already'}. {record['not_in_place']}".strip())
    live = ordered + record["live_seconds"]
    return Outcome(split, Moments(ordered, ordered, live, live), "")


def _moments(ordered: float, record: dict[str, Any]) -> Moments:
    live = record["live_seconds"]
    ready = live if record["ready_seconds"] is None else record["ready_seconds"]
    return Moments(ordered, ordered + ready, ordered + live, ordered + record["old_gone_seconds"])
