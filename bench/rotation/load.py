"""Requests that keep coming until it is enough: some are witnesses, the others are fresh each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from appliance.workload import Arrival, Mix, poisson_times
from bench.client import Planned
from bench.endpoint import Endpoint
from bench.prompts import Prompts
from bench.record import Record
from bench.rotation.witness import Witness


@dataclass
class EndlessLoad:
    """Poisson arrivals of `rate` a second; about `witness_share` of them are drawn from `witnesses`.

    `plan` is made as it is asked for and ends after `stop`.
    """

    endpoint: Endpoint
    mix: Mix
    rate: float
    witnesses: Sequence[Witness]
    witness_share: float
    vocabulary: int
    random: Random
    records: list[Record] = field(default_factory=list)
    watched: list[tuple[int, Record]] = field(default_factory=list)
    _is_over: bool = False

    def stop(self) -> None:
        self._is_over = True

    def plan(self) -> Iterator[Planned]:
        for at_seconds in poisson_times(self.rate, self.random):
            if self._is_over:
                return
            is_witness = self.random.random() < self.witness_share
            planned = self._witness(at_seconds) if is_witness else self._fresh(at_seconds)
            self.records.append(planned.record)
            yield planned

    def _witness(self, at_seconds: float) -> Planned:
        number = self.random.randrange(len(self.witnesses))
        witness = self.witnesses[number]
        record = Record(at_seconds, len(witness.prompt), witness.output_tokens, token_ids=[])
        self.watched.append((number, record))
        return Planned(record, witness.request(self.endpoint))

    def _fresh(self, at_seconds: float) -> Planned:
        lengths = self.mix.parts[0]
        arrival = Arrival(at_seconds, lengths.input.draw(self.random), lengths.output.draw(self.random))
        (request,) = Prompts(self.vocabulary, with_token_ids=True).requests(self.endpoint, [arrival])
        return Planned(Record(*arrival), request)
