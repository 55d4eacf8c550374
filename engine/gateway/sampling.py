"""From what a client asked to what the engine is told: defaults, seeds, and how many tokens fit."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import msgspec

from engine.errors import CannotStart, ContextLengthExceeded, InvalidRequest
from engine.gateway.generation_schema import GenerationRequest
from engine.request import SamplingParams

_SEED_MASK = 2**63 - 1
_UINT64_MASK = 2**64 - 1


class SamplingDefaults(msgspec.Struct, frozen=True):
    """What holds where the client says nothing; a model's `generation_config.json` may say otherwise."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

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


class SamplingPlan(msgspec.Struct, frozen=True):
    """What holds for all requests to one endpoint of one model.

    `most_tokens`: prompt and answer together. `default_max_tokens` None: as many as fit.
    """

    most_tokens: int
    vocab_size: int
    eos_token_ids: tuple[int, ...]
    defaults: SamplingDefaults
    default_max_tokens: int | None = None

    def params(
        self, asked: GenerationRequest, prompt_tokens: int, seed: int, grammar: bytes | None = None
    ) -> SamplingParams:
        """For the first choice. Raises `ContextLengthExceeded` or `InvalidRequest`."""
        max_tokens = self._max_tokens(asked.wanted_tokens, prompt_tokens)
        if asked.min_tokens > max_tokens:
            raise InvalidRequest(
                f"At least {asked.min_tokens} tokens were asked for, and at most {max_tokens}.", param="min_tokens"
            )
        self._check_ids(asked)
        defaults = self.defaults
        end_ids = () if asked.ignore_eos else self.eos_token_ids
        return SamplingParams(
            max_tokens=max_tokens,
            seed=seed & _SEED_MASK,
            temperature=_first(asked.temperature, defaults.temperature, 1.0),
            top_p=_first(asked.top_p, defaults.top_p, 1.0),
            top_k=max(_first(asked.top_k, defaults.top_k, 0), 0),  # −1 is another way to say off
            min_tokens=asked.min_tokens,
            stop_token_ids=tuple(dict.fromkeys((*end_ids, *asked.stop_token_ids))),
            min_p=_first(asked.min_p, defaults.min_p, 0.0),
            repetition_penalty=_first(asked.repetition_penalty, defaults.repetition_penalty, 1.0),
            presence_penalty=asked.presence_penalty,
            frequency_penalty=asked.frequency_penalty,
            logit_bias=asked.logit_bias,
            logprobs=asked.wanted_logprobs,
            grammar=grammar,
        )

    def _max_tokens(self, wanted: int | None, prompt_tokens: int) -> int:
        room = self.most_tokens - prompt_tokens
        if room < 1:
            raise ContextLengthExceeded(
                f"The prompt has {prompt_tokens} tokens; at most {self.most_tokens} are served, "
                "prompt and answer together."
            )
        if wanted is None:
            return room if self.default_max_tokens is None else min(self.default_max_tokens, room)
        if wanted > room:
            raise ContextLengthExceeded(
                f"The prompt has {prompt_tokens} tokens and {wanted} more were asked for; "
                f"at most {self.most_tokens} are served, prompt and answer together."
            )
        return wanted

    def _check_ids(self, asked: GenerationRequest) -> None:
        for name, token_ids in (("logit_bias", asked.logit_bias), ("stop_token_ids", asked.stop_token_ids)):
            strange = next((token_id for token_id in token_ids if token_id >= self.vocab_size), None)
            if strange is not None:
                raise InvalidRequest(f"The token id {strange} is not from 0 to {self.vocab_size - 1}.", param=name)


def for_choice(sampling: SamplingParams, index: int) -> SamplingParams:
    """The same with the seed of answer number `index`, which a given seed and the index alone determine."""
    return msgspec.structs.replace(sampling, seed=_mixed(sampling.seed, index)) if index else sampling


def _mixed(seed: int, index: int) -> int:
    """SplitMix64, output number `index` after `seed`: neighbouring seeds and indices give unrelated draws."""
    word = (seed + index * 0x9E3779B97F4A7C15) & _UINT64_MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _UINT64_MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _UINT64_MASK
    return (word ^ (word >> 31)) & _SEED_MASK


def _first(asked, default, otherwise):
    return next(value for value in (asked, default, otherwise) if value is not None)
