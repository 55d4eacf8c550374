"""One run of a shift against the running appliance: set it up, send, and see who kept the targets."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from typing import NamedTuple

from appliance.control.client import Conversation
from appliance.control.messages import AskRotation, AskRotations, SetMode, SetTarget
from appliance.instance import Instance
from bench.as_found import told
from bench.client_processes import Share, run_shares
from bench.endpoint import Endpoint
from bench.prompts import Prompts
from bench.results import Origin
from bench.shift.load import arrivals_of, kept_by_part
from bench.shift.result import POLICY, ShiftConfiguration, ShiftLine
from bench.summary import Targets, p99_ms
from engine.allocation import SMAllocation


class Shift(NamedTuple):
    """`vocabulary`: prompts are made of token ids below it. `clients`: processes that send them. `grace_seconds`: how
    long the last answers are waited for."""

    instance: Instance
    endpoint: Endpoint
    configuration: ShiftConfiguration
    vocabulary: int
    clients: int = 1
    grace_seconds: float = 60.0

    def run(self, ruled_by: str, origin: Origin) -> ShiftLine:
        """Raises `SemiPDError` where the appliance does not do what it is told."""
        asked = self.configuration
        with Conversation(self.instance) as controller:
            self._set_up(controller, ruled_by)
            began = time.time()
            arrivals = arrivals_of(asked.parts, asked.scale, asked.seed)
            whole = Share(self.endpoint, arrivals, Prompts(self.vocabulary), self.grace_seconds, None)
            observed = run_shares(whole, self.clients)
            told(controller, SetMode("manual"))
            moves = _moves(controller, began)
        return ShiftLine(
            origin=origin,
            configuration=asked,
            ruled_by=ruled_by,
            parts=kept_by_part(
                observed.records, asked.parts, Targets(asked.ttft_ms, asked.tpot_ms), asked.window_seconds
            ),
            failures=dict(Counter(record.failure for record in observed.records if record.failure is not None)),
            moves=moves,
            late_ms_p99=p99_ms([record.late for record in observed.records if record.sent]),
            loop_lag_ms_p99=p99_ms(observed.loop_lags),
            load_average=round(os.getloadavg()[0], 2),
        )

    def _set_up(self, controller: Conversation, ruled_by: str) -> None:
        """The policy's window must be empty of the run before: its requests would be taken for this one's."""
        asked = self.configuration
        told(controller, SetMode("manual"))
        told(controller, SetTarget(asked.ttft_ms, asked.tpot_ms))
        prefill, decode = (int(share) for share in (asked.start if ruled_by == POLICY else ruled_by).split("/"))
        split = SMAllocation(prefill, decode)
        told(controller, AskRotation(split.prefill_percentage, split.decode_percentage, reason="bench"))
        if ruled_by == POLICY:
            time.sleep(asked.window_seconds)
            told(controller, SetMode("auto"))


def _moves(controller: Conversation, since: float) -> tuple[str, ...]:
    records = json.loads(told(controller, AskRotations(1000)).data)
    return tuple(record["sentence"] for record in records if record["asked_at"] >= since)
