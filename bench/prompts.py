"""The requests of a run, made before it begins: random token ids, fresh each time, so that no prefix is ever cached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from appliance.workload import Arrival
from bench.endpoint import Endpoint


class Prompts(NamedTuple):
    """Token ids are below `vocabulary`. `with_token_ids`: ask the server to name the ids it sends."""

    vocabulary: int
    with_token_ids: bool = False

    def requests(self, endpoint: Endpoint, arrivals: Sequence[Arrival]) -> list[bytes]:
        """The bytes to send for each arrival."""
        random = np.random.default_rng()
        return [endpoint.request(self._body(endpoint.model, arrival, random)) for arrival in arrivals]

    def _body(self, model: str, arrival: Arrival, random: np.random.Generator) -> bytes:
        fields = {
            "model": model,
            "prompt": random.integers(self.vocabulary, size=arrival.input_tokens).tolist(),
            "max_tokens": arrival.output_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return msgspec.json.encode(fields | ({"return_token_ids": True} if self.with_token_ids else {}))
