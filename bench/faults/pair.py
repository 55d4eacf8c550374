"""Difficult clients beside others: rounds with and without them, in turn, so that the machine's own noise shows."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import NamedTuple

from bench.faults.box import LOOK_SECONDS, Box
from bench.faults.clients_result import ClientsConfiguration, ClientsLine, ClientsRound
from bench.faults.crowd import Crowd
from bench.faults.difficult import Kind, Seen, Task
from bench.faults.memory import processes_of, taken
from bench.faults.others import Measured, Others
from bench.results import Origin
from engine.errors import SemiPDError

QUIET_SECONDS = 300.0
"""How long the engine may take for what the difficult ones have asked for, before the load begins."""


class Pair(NamedTuple):
    """Two rounds with the same load."""

    box: Box
    configuration: ClientsConfiguration
    vocabulary: int

    def measure(self, number: int, origin: Origin) -> ClientsLine:
        """Each pair is the other way round than the last, so that what follows upon a round falls on both kinds."""
        rounds = {is_calm: self._round(is_calm) for is_calm in ((True, False) if number % 2 == 0 else (False, True))}
        return ClientsLine(origin, self.configuration, rounds[True], rounds[False], round(os.getloadavg()[0], 2))

    def _round(self, is_calm: bool) -> ClientsRound:
        """The difficult ones come in any case, for their coming costs something too, and leave before a calm load.

        Those whose leaving is what is tried stay instead, and ask for no more than the others have taken.
        """
        asked, is_leaving = self.configuration, self.configuration.kind is Kind.LEAVERS
        task = Task(
            asked.kind, self.box.endpoint, asked.clients, asked.seconds, self.vocabulary, is_kind=is_leaving and is_calm
        )
        others = Others(self.box.endpoint, asked.streams, asked.tokens, asked.new_per_second, self.vocabulary)
        with Crowd(task) as crowd:
            if not is_leaving:
                self._wait_until_nothing_is_computed()
            seen = crowd.leave() if is_calm and not is_leaving else None
            measured = others.measure(asked.seconds)
            worker_bytes = self._worker_bytes()
            seen = seen or crowd.leave()
        return self._figures(measured, seen, worker_bytes)

    def _figures(self, measured: Measured, seen: Seen, worker_bytes: int) -> ClientsRound:
        tpots = [record.tpot for record in measured.streamed if record.tpot is not None]
        ttfts = [record.ttft for record in measured.new if record.failure is None and record.ttft is not None]
        failures = Counter(record.failure for record in (*measured.streamed, *measured.new) if record.failure)
        return ClientsRound(
            tpots=tuple(round(seconds, 5) for seconds in tpots),
            ttfts=tuple(round(seconds, 4) for seconds in ttfts),
            failures=dict(failures),
            present=seen.present,
            ends=seen.ends,
            pages_left=self.box.pages_left(),
            worker_bytes=worker_bytes,
        )

    def _wait_until_nothing_is_computed(self) -> None:
        deadline = time.monotonic() + QUIET_SECONDS
        while self.box.requests_in_progress != 0:
            if time.monotonic() > deadline:
                raise SemiPDError(f"After {QUIET_SECONDS:g} s the engine still computed what they had asked for.")
            time.sleep(LOOK_SECONDS)

    def _worker_bytes(self) -> int:
        status = self.box.status()
        if status is None:
            return 0
        workers = [pid for name, pid in processes_of(status).items() if name.startswith("gateway worker")]
        return max((one.pss for one in taken(workers).values()), default=0)
