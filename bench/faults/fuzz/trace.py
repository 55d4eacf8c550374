"""A trace: valid requests of several tenants, each with a word of its tenant's own, and when each is sent. Pure."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

COMMON = "In Python, a list is a mutable sequence, and its methods are described in the tutorial. "
"""All prompts begin alike, so that pages would be shared, if tenants shared any."""
MOST_TOKENS = 12
LOOKS = ("/metrics", "/v1/loads", "/v1/models", "/health", "/server_info", "/version")


class Planned(NamedTuple):
    """`body` None: a GET. `leaves_after`: pieces of the answer after which the client leaves, None: it stays."""

    at: float
    tenant: int
    path: str
    body: dict[str, Any] | None
    leaves_after: int | None = None


def canaries(seed: int, tenants: int) -> list[str]:
    """One for each tenant, that no model makes up, and short: an answer that says it takes a token for two letters."""
    random = Random(f"canary/{seed}")
    return [f"cnry{random.getrandbits(32):08x}" for _ in range(tenants)]


def trace(seed: int, words: list[str], model: str, requests: int, seconds: float) -> list[Planned]:
    """In the order of their times, within `seconds`."""
    random = Random(f"trace/{seed}")
    planned = [_planned(random, words, model, seconds) for _ in range(requests)]
    return sorted(planned, key=lambda one: one.at)


def _planned(random: Random, words: list[str], model: str, seconds: float) -> Planned:
    at, tenant = random.uniform(0.0, seconds), random.randrange(len(words))
    word = words[tenant]
    make = random.choice((_text, _text, _text, _chat, _chat, _schema, _call, _tokens, None))
    if make is None:
        return Planned(at, tenant, random.choice(LOOKS), None)
    path, body = make(random, word)
    leaves_after = random.randint(1, 4) if body.get("stream") and random.random() < 0.3 else None
    return Planned(at, tenant, path, {"model": model, **body}, leaves_after)


def _text(random: Random, word: str) -> tuple[str, dict[str, Any]]:
    prompts = [
        f"{COMMON}{word} {random.randrange(9)} {word} " * random.randint(1, 4) for _ in range(random.randint(1, 2))
    ]
    return "/v1/completions", {"prompt": prompts, **_sampling(random, word)} | (
        {"logprobs": random.randint(0, 5)} if random.random() < 0.3 else {}
    )


def _chat(random: Random, word: str) -> tuple[str, dict[str, Any]]:
    turns = [
        {"role": role, "content": f"{COMMON}My word is {word}."} for role in ("system", "user", "assistant", "user")
    ]
    first = random.randint(0, 1)
    return "/v1/chat/completions", {"messages": turns[first:], **_sampling(random, word)} | (
        {"logprobs": True, "top_logprobs": random.randint(0, 5)} if random.random() < 0.3 else {}
    )


def _schema(random: Random, word: str) -> tuple[str, dict[str, Any]]:
    """The answer is to be the word."""
    schema = {"enum": [word, word.upper()]}
    form = {"type": "json_schema", "json_schema": {"name": word, "schema": schema}}
    asked = {"messages": [{"role": "user", "content": word}], "response_format": form, "max_tokens": 40}
    return "/v1/chat/completions", asked | {"stream": random.random() < 0.5}


def _call(random: Random, word: str) -> tuple[str, dict[str, Any]]:
    """The answer is to call the function of that name."""
    nothing = {"type": "object", "properties": {}, "additionalProperties": False}
    tools = [{"type": "function", "function": {"name": word, "parameters": nothing}}]
    asked = {"messages": [{"role": "user", "content": word}], "tools": tools, "tool_choice": "required"}
    return "/v1/chat/completions", asked | {"max_tokens": 60, "stream": random.random() < 0.5}


def _tokens(random: Random, word: str) -> tuple[str, dict[str, Any]]:
    return "/tokenize", {"prompt": word * random.randint(1, 50), "return_token_strs": random.random() < 0.5}


def _sampling(random: Random, word: str) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "max_tokens": random.randint(1, MOST_TOKENS),
        "temperature": random.choice((0, 0.7, 1.0, 2.0)),
        "top_p": random.choice((1.0, 0.9, 1e-6)),
        "top_k": random.choice((-1, 0, 1, 50)),
        "repetition_penalty": random.choice((1.0, 1.2)),
        "n": random.choice((1, 1, 1, 3)),
        "stream": random.random() < 0.6,
        "seed": random.getrandbits(40),
        "priority": random.choice((0, 0, -5, 5)),
    }
    if random.random() < 0.3:
        asked["stop"] = [word, "."]
    if random.random() < 0.2:
        asked["logit_bias"] = {str(random.randrange(8000)): random.choice((-100, 5, 100))}
    if random.random() < 0.2:
        asked["ignore_eos"] = True
    return asked
