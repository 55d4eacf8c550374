"""What clients ask for: how long prompts and answers are and when they come.

Decides nothing and sends nothing: the load client and the simulator both draw from here, so that what is simulated is
what is measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from random import Random
from statistics import NormalDist
from typing import NamedTuple

FIXED_PREFIX = "fixed:"
NORMAL = NormalDist()


class Lognormal(NamedTuple):
    """A number of tokens. `mean` is that of the lognormal itself, `sigma` that of its logarithm; what falls outside
    of `minimum` and `maximum` is moved to the nearer of them."""

    mean: float
    sigma: float
    minimum: int
    maximum: int

    def draw(self, random: Random) -> int:
        return self._within(random.lognormvariate(self._location, self.sigma))

    def draw_evenly(self, count: int, random: Random) -> list[int]:
        """So many, in random order: one from each of `count` equally likely ranges."""
        parts = [(number + random.random()) / count for number in range(count)]
        random.shuffle(parts)
        return [self._within(math.exp(self._location + self.sigma * NORMAL.inv_cdf(part))) for part in parts]

    @property
    def _location(self) -> float:
        """The mean of the logarithm."""
        return math.log(self.mean) - self.sigma**2 / 2

    def _within(self, drawn: float) -> int:
        return min(max(round(drawn), self.minimum), self.maximum)

    def scaled(self, factor: float) -> Lognormal:
        """The same shape with every length times `factor`, at least one token."""
        minimum, maximum = max(1, round(self.minimum * factor)), max(1, round(self.maximum * factor))
        return Lognormal(self.mean * factor, self.sigma, minimum, maximum)


class Lengths(NamedTuple):
    """Tokens of a prompt and of its answer."""

    input: Lognormal
    output: Lognormal


class Mix(NamedTuple):
    """A kind of work. Several `parts` follow one another, each for the same part of the time."""

    name: str
    parts: tuple[Lengths, ...]

    def scaled(self, factor: float) -> Mix:
        parts = tuple(Lengths(part.input.scaled(factor), part.output.scaled(factor)) for part in self.parts)
        return Mix(self.name, parts)

    def lengths_at(self, at_seconds: float, seconds: float) -> Lengths:
        """What is asked for at a moment of a run that lasts `seconds`."""
        part = int(at_seconds / seconds * len(self.parts))
        return self.parts[min(part, len(self.parts) - 1)]


class Arrival(NamedTuple):
    """One request: when it comes, counted from the start, and how long it is."""

    at_seconds: float
    input_tokens: int
    output_tokens: int


SHAREGPT = Lengths(Lognormal(161, 1.1, 4, 2048), Lognormal(338, 0.9, 4, 1024))
AZURE_CONV = Lengths(Lognormal(1155, 0.8, 16, 8192), Lognormal(211, 0.9, 4, 1024))
AZURE_CODE = Lengths(Lognormal(2048, 0.8, 16, 8192), Lognormal(28, 1.0, 4, 256))
MOONCAKE = Lengths(Lognormal(7955, 0.8, 256, 32768), Lognormal(194, 0.9, 4, 1024))
REASON = Lengths(Lognormal(300, 0.8, 16, 2048), Lognormal(1000, 0.6, 64, 4096))

MIXES = {
    mix.name: mix
    for mix in (
        Mix("sharegpt", (SHAREGPT,)),
        Mix("azure-conv", (AZURE_CONV,)),
        Mix("azure-code", (AZURE_CODE,)),
        Mix("mooncake", (MOONCAKE,)),
        Mix("reason", (REASON,)),
        Mix("shift", (AZURE_CODE, REASON)),
    )
}


def mix_named(name: str) -> Mix:
    """One of `MIXES`, or `fixed:IN/OUT`: every prompt IN and every answer OUT tokens long.

    Raises `ValueError` with a sentence that names what there is.
    """
    if name.startswith(FIXED_PREFIX):
        return Mix(name, (_fixed_lengths(name),))
    if name not in MIXES:
        raise ValueError(f"There is no mix {name!r}; there are {', '.join(MIXES)} and {FIXED_PREFIX}IN/OUT.")
    return MIXES[name]


def _fixed_lengths(name: str) -> Lengths:
    try:
        tokens = [int(part) for part in name.removeprefix(FIXED_PREFIX).split("/")]
        prompt, answer = (Lognormal(number, 0.0, number, number) for number in tokens)
    except ValueError:
        raise ValueError(f"The mix {name!r} is not of the form {FIXED_PREFIX}IN/OUT, such as fixed:512/256.") from None
    if min(tokens) < 1:
        raise ValueError(f"The mix {name!r} must have at least one token of prompt and of answer.")
    return Lengths(prompt, answer)


def draw(mix: Mix, rate: float, seconds: float, seed: int) -> list[Arrival]:
    """The requests of a Poisson process of `rate` a second that lasts `seconds`.

    Times and lengths have a generator each: at another rate the same requests come, in the same order, sooner or later.
    """
    times, lengths = Random(f"{seed}/times"), Random(f"{seed}/lengths")
    arrivals = []
    for at_seconds in takewhile(lambda at: at < seconds, poisson_times(rate, times)):
        part = mix.lengths_at(at_seconds, seconds)
        arrivals.append(Arrival(at_seconds, part.input.draw(lengths), part.output.draw(lengths)))
    return arrivals


def draw_evenly(mix: Mix, rate: float, seconds: float, seed: int) -> list[Arrival]:
    """As many requests as come in `seconds` on average, at random moments, with lengths spread as the mix has them.

    Half a minute of `draw` easily has a tenth more tokens than the mix stands for, or fewer: long prompts are rare, and
    near what a box can do such chance decides. Here it decides only what comes when.
    """
    times, lengths = Random(f"{seed}/times"), Random(f"{seed}/lengths")
    whole = len(mix.parts)
    arrivals: list[Arrival] = []
    for number, part in enumerate(mix.parts):
        begin, end = seconds * number / whole, seconds * (number + 1) / whole
        count = round(rate * end) - round(rate * begin)
        moments = sorted(times.uniform(begin, end) for _ in range(count))
        drawn = (part.input.draw_evenly(count, lengths), part.output.draw_evenly(count, lengths))
        arrivals += map(Arrival, moments, *drawn)
    return arrivals


def draw_together(mix: Mix, count: int, seed: int) -> list[Arrival]:
    """So many requests at time 0, in as many equal parts, one after the other, as the mix has."""
    lengths = Random(f"{seed}/lengths")
    parts = [mix.lengths_at(number, count) for number in range(count)]
    return [Arrival(0.0, part.input.draw(lengths), part.output.draw(lengths)) for part in parts]


def poisson_times(rate: float, random: Random) -> Iterator[float]:
    """Moments of arrival, without end."""
    at_seconds = 0.0
    while True:
        at_seconds += random.expovariate(rate)
        yield at_seconds


def read_trace(path: Path) -> list[Arrival]:
    """Requests that a file of JSON lines times itself: `at_seconds`, `input_tokens`, `output_tokens`, in any order.

    Raises `ValueError` with a sentence that names the line.
    """
    lines = enumerate(path.read_text().splitlines(), start=1)
    return sorted(_traced(path, number, line) for number, line in lines if line.strip())


def _traced(path: Path, number: int, line: str) -> Arrival:
    try:
        fields = json.loads(line)
        arrival = Arrival(float(fields["at_seconds"]), int(fields["input_tokens"]), int(fields["output_tokens"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"Line {number} of {path} is not a request with its time: {error!r}.") from error
    if arrival.at_seconds < 0 or min(arrival.input_tokens, arrival.output_tokens) < 1:
        raise ValueError(f"Line {number} of {path}: a time is at least 0 and a length at least 1 token.")
    return arrival
