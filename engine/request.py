"""What a request asks for and where it stands. Plain values shared by gateway, scheduler and workers."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class RequestState(StrEnum):
    """WAITING → PREFILLING → DECODING → FINISHED; preemption leads back to WAITING."""

    WAITING = "waiting"
    PREFILLING = "prefilling"
    DECODING = "decoding"
    FINISHED = "finished"


class FinishReason(StrEnum):
    """Why a request ended, in OpenAI's words; CANCELLED never reaches a client."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


class SamplingParams(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the next token is chosen and when to end.

    `max_tokens`: number of tokens to generate, ≥ 1. `temperature` 0 is greedy. `top_k` 0, `top_p` 1.0 and `min_p` 0.0
    are off; `min_p` leaves the tokens at least `min_p` times as likely as the likeliest.
    `seed`: 64-bit; with the token's index it alone determines the draw, so that a draw depends neither on the batch
    nor on the worker. `stop_token_ids` end the request (the gateway puts the model's end tokens here unless the client
    said `ignore_eos`) and cannot be drawn before `min_tokens` tokens were generated.
    `repetition_penalty` (above 0, 1.0 is off) divides the logits of tokens in prompt or output where they are positive
    and multiplies them elsewhere. From the logits of tokens in the output, `frequency_penalty` is taken off as often as
    they came, and `presence_penalty` once (0.0 is off).
    `logit_bias`: token id → what is added to its logit; ids outside the vocabulary are ignored.
    `logprobs`: how many of the likeliest tokens to report beside each token's own log-probability. 0 is only its own,
    None nothing. They are the model's, before anything that is asked for here changed its logits.
    `grammar`: the output is text of it (`engine.grammar.grammars.packed`), tokens that lead out of it cannot be drawn,
    and the end comes where it is complete. It goes with the model's end tokens among the stop tokens, and without
    `min_tokens`.
    """

    max_tokens: int
    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_tokens: int = 0
    stop_token_ids: tuple[int, ...] = ()
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    logprobs: int | None = None
    grammar: bytes | None = None

    @property
    def has_penalties(self) -> bool:
        """True if tokens that came before are more or less likely to come again."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1.0, 0.0, 0.0)

    @property
    def needs_history(self) -> bool:
        """True if the next token's choice depends on which tokens came before."""
        return self.has_penalties or self.grammar is not None

    def finish_reason(self, token_id: int, index: int) -> FinishReason | None:
        """Why a request ends with `token_id` as its output number `index` (from 0), or None if it goes on.

        >>> SamplingParams(max_tokens=2, stop_token_ids=(7,)).finish_reason(7, 0).value
        'stop'
        """
        if token_id in self.stop_token_ids and index >= self.min_tokens:
            return FinishReason.STOP
        if index + 1 >= self.max_tokens:
            return FinishReason.LENGTH
        return None


class Request(msgspec.Struct, frozen=True):
    """One generation as the gateway hands it in.

    `request_id` is unique over all gateway workers of one start. `emitted_ids` are output tokens the client already
    has: a request that is handed in again goes on after them. `key_id` names the API key for fairness and limits.
    `priority`: the lower, the sooner. `is_probe`: nobody's, asked by a gateway to see whether tokens come through; it
    is in no count of requests, in no key's account and in no metric.
    `received_at` is `time.monotonic()` (one clock for all processes of a machine) when the body was received.
    """

    request_id: int
    prompt_ids: list[int]
    sampling: SamplingParams
    key_id: str = ""
    priority: int = 0
    emitted_ids: list[int] = []
    received_at: float = 0.0
    is_probe: bool = False
