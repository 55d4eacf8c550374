"""From what a client asked to what the engine is told: defaults, seeds, and how many tokens fit."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Self

import msgspec

from engine.errors import CannotStart, ContextLengthExceeded, InvalidRequest
from engine.gateway.schema import GenerationRequest
from engine.request import SamplingParams

_SEED_MASK = 2**63 - 1


class SamplingDefaults(msgspec.Struct, frozen=True):
    """What holds where the client says nothing; a model's `generation_config.json` may say otherwise."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None

    @classmethod
    def load(cls, model_path: Path) -> Self:
        """Raises `CannotStart` for a broken file."""
        path = model_path / "generation_config.json"
        if not path.is_file():
            return cls()
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except msgspec.MsgspecError as error:
            raise CannotStart(f"The file {path} cannot be read: {error}.") from error


def sampling_params(
    asked: GenerationRequest,
    *,
    prompt_tokens: int,
    most_tokens: int,
    default_max_tokens: int | None,
    eos_token_ids: tuple[int, ...],
    defaults: SamplingDefaults,
) -> SamplingParams:
    """`most_tokens`: prompt and answer together. `default_max_tokens` None: as many as fit.

    Raises `ContextLengthExceeded` or `InvalidRequest`.
    """
    max_tokens = _max_tokens(asked.wanted_tokens, default_max_tokens, prompt_tokens, most_tokens)
    if asked.min_tokens > max_tokens:
        raise InvalidRequest(
            f"At least {asked.min_tokens} tokens were asked for, and at most {max_tokens}.", param="min_tokens"
        )
    return SamplingParams(
        max_tokens=max_tokens,
        seed=secrets.randbits(63) if asked.seed is None else asked.seed & _SEED_MASK,
        temperature=_first(asked.temperature, defaults.temperature, 1.0),
        top_p=_first(asked.top_p, defaults.top_p, 1.0),
        top_k=max(_first(asked.top_k, defaults.top_k, 0), 0),  # −1 is another way to say off
        min_tokens=asked.min_tokens,
        stop_token_ids=() if asked.ignore_eos else eos_token_ids,
    )


def _max_tokens(wanted: int | None, default: int | None, prompt_tokens: int, most_tokens: int) -> int:
    room = most_tokens - prompt_tokens
    if room < 1:
        raise ContextLengthExceeded(
            f"The prompt has {prompt_tokens} tokens; at most {most_tokens} are served, prompt and answer together."
        )
    if wanted is None:
        return room if default is None else min(default, room)
    if wanted > room:
        raise ContextLengthExceeded(
            f"The prompt has {prompt_tokens} tokens and {wanted} more were asked for; "
            f"at most {most_tokens} are served, prompt and answer together."
        )
    return wanted


def _first(asked, default, otherwise):
    return next(value for value in (asked, default, otherwise) if value is not None)
