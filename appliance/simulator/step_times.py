"""How long a step takes on the whole chip: a few coefficients, fitted to measured steps, kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import NamedTuple, Self

from appliance.simulator.least_squares import nonnegative_least_squares


class PrefillStep(NamedTuple):
    """A measured step. `token_context`: Σ over tokens of how many tokens each of them attends to."""

    tokens: int
    token_context: float
    seconds: float


class DecodeStep(NamedTuple):
    """A measured step of `batch` requests that attend to `context` tokens together."""

    batch: int
    context: int
    seconds: float


def token_context(start: int, tokens: int) -> float:
    """Σ of contexts for a chunk of `tokens` tokens that begins at position `start`."""
    return tokens * (start + (tokens + 1) / 2)


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds: prefill c0 + c1 · tokens + c2 · token_context, decode
    d0 + d1 · batch + d2 · context + d3 · (batch − knee).

    The last counts beyond `knee` lanes alone, where a step computes each of them and no longer waits for memory.
    `overhead` is what a request spends outside of steps until its first token is handed to the socket.
    """

    c0: float
    c1: float
    c2: float
    d0: float
    d1: float
    d2: float
    overhead: float = 0.0
    d3: float = 0.0
    knee: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value >= 0:
                raise ValueError(f"The step time coefficient {name} must not be negative, as {value!r} is.")
        if not (self.c0 + self.c1 > 0 and self.d0 + self.d1 > 0):
            raise ValueError("A step must take some time: c0 + c1 and d0 + d1 must be above 0.")

    def prefill(self, tokens: int, context: float) -> float:
        return self.c0 + self.c1 * tokens + self.c2 * context

    def decode(self, batch: int, context: int) -> float:
        return self.d0 + self._decoding(batch, context)

    def _decoding(self, batch: int, context: int) -> float:
        return self.d1 * batch + self.d2 * context + self.d3 * max(0.0, batch - self.knee)

    def packed(self, tokens: int, token_context: float, batch: int, context: int) -> float:
        """A step of both phases at once: what a step costs whatever is in it, is paid once."""
        longer = max(self.c0, self.d0) if batch else self.c0
        return longer + self.c1 * tokens + self.c2 * token_context + self._decoding(batch, context)

    @property
    def least_ttft_seconds(self) -> float:
        """Of a prompt of one token, alone on the whole chip."""
        return self.overhead + self.prefill(1, 1)

    @property
    def least_tpot_seconds(self) -> float:
        return self.decode(1, 1)

    @classmethod
    def fitted(
        cls,
        prefill: Sequence[PrefillStep],
        decode: Sequence[DecodeStep],
        overhead: float = 0.0,
        knee: float = inf,
        attention: float | None = None,
    ) -> Self:
        """Non-negative least squares of relative errors, so that short steps count as much as long ones. `attention`:
        c2 where it is known; steps of short prompts do not tell it.

        Raises `ValueError` for fewer than three measured steps of a phase.
        """
        if min(len(prefill), len(decode)) < 3:
            raise ValueError("Fitting step times needs at least three measured steps of each phase.")
        c = _prefill_of(prefill) if attention is None else _prefill_beside(attention, prefill)
        beyond = [max(0.0, step.batch - knee) for step in decode]
        d = _fit([((1.0, s.batch, s.context, more), s.seconds) for s, more in zip(decode, beyond, strict=True)])
        return cls(*c, *d[:3], overhead=overhead, d3=d[3], knee=knee if any(beyond) else 0.0)

    @classmethod
    def estimated(
        cls, *, weight_bytes: float, kv_bytes_a_token: float, flop_a_token: float, bandwidth: float, flops: float
    ) -> Self:
        """From a chip's data sheet or a few benchmarks: decode waits for memory, prefill for arithmetic.

        `bandwidth` in bytes a second and `flops` in operations a second, both as achieved, not as promised.
        """
        read_weights = weight_bytes / bandwidth
        return cls(
            c0=read_weights,
            c1=flop_a_token / flops,
            c2=0.0,
            d0=read_weights,
            d1=flop_a_token / flops,
            d2=kv_bytes_a_token / bandwidth,
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises `ValueError` with one sentence."""
        try:
            return cls(**json.loads(path.read_text("utf-8")))
        except TypeError as error:
            raise ValueError(f"{path} holds no step times: {error}.") from error

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")


def _prefill_of(steps: Sequence[PrefillStep]) -> list[float]:
    return _fit([((1.0, step.tokens, step.token_context), step.seconds) for step in steps])


def _prefill_beside(attention: float, steps: Sequence[PrefillStep]) -> list[float]:
    rest = [((1.0, step.tokens), step.seconds - attention * step.token_context) for step in steps]
    return [*_fit(rest), attention]


def _fit(steps: Sequence[tuple[tuple[float, ...], float]]) -> list[float]:
    rows = [[feature / seconds for feature in features] for features, seconds in steps]
    return nonnegative_least_squares(rows, [1.0] * len(rows))
