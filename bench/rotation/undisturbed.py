"""What witnesses are answered when nothing else runs."""

from __future__ import annotations

from collections.abc import Sequence

from bench.client import Planned, run_rounds
from bench.endpoint import Endpoint
from bench.record import Record
from bench.rotation.witness import Witness
from engine.errors import SemiPDError


def undisturbed_answers(endpoint: Endpoint, known: Sequence[Witness], grace_seconds: float) -> list[list[int]]:
    """The token ids of each, asked for alone. Raises `SemiPDError` where one is not answered."""
    plan = [
        [Planned(Record(0.0, len(one.prompt), one.output_tokens, token_ids=[]), one.request(endpoint))] for one in known
    ]
    records = run_rounds(endpoint, plan, grace_seconds).records
    if failed := [record.failure for record in records if record.failure is not None]:
        raise SemiPDError(f"An undisturbed answer failed: {failed[0]}.")
    return [record.token_ids or [] for record in records]
