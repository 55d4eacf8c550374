"""Requests made up from the OpenAPI document, good and bad, and what the endpoint made of them.

Imports schemathesis, which the tests install.
"""

from __future__ import annotations

import json
import time
import urllib.request
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import hypothesis
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # other people's deprecations at import
    import schemathesis

SLOW_SECONDS = 1.0
AGAIN = 3
"""So often a slow request is sent once more, when nobody else asks."""
PATIENCE_SECONDS = 30.0
MOST_TOKENS = 8
MOST_CHOICES = 8
RETRY_AFTER = "retry-after"
MOST_SHOWN = 2000
"""Characters of a request in which something was found."""
_SLOW_TO_MAKE = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
_SCHEMA_WORDS = (
    *("type", "properties", "required", "additionalProperties", "items", "prefixItems", "enum", "const", "anyOf"),
    *("$ref", "$defs", "pattern", "format", "minLength", "maxLength", "minimum", "minItems", "minProperties"),
)
_ANY_SCHEMA = {"type": "object", "properties": {word: {} for word in _SCHEMA_WORDS}}
"""A JSON schema or something like it: what stands at a keyword may be anything."""


class Endpoint(NamedTuple):
    """What is asked. `model`: what it serves, as requests must name it to get beyond that."""

    url: str
    api_key: str
    model: str


class Slow(NamedTuple):
    """A request that took long while others were asked too, as it was sent."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | str | None
    seconds: float


@dataclass
class Outcome:
    """Of a batch of requests. `outcomes`: by status. `slowest_seconds`: without those in `slow`."""

    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    slow: list[Slow] = field(default_factory=list)
    slowest_seconds: float = 0.0


def document_for(endpoint: Endpoint) -> dict[str, Any]:
    """The endpoint's own, with what it cannot know: the model's name, and that schemas are schemas."""
    with urllib.request.urlopen(f"{endpoint.url}/openapi.json", timeout=PATIENCE_SECONDS) as answer:
        document = json.load(answer)
    for schema in document["components"]["schemas"].values():
        if "model" in schema.get("properties", {}):
            schema["properties"]["model"] = {"const": endpoint.model}
    schemas = document["components"]["schemas"]
    schemas["NamedSchema"]["properties"]["schema"] = _ANY_SCHEMA
    tools = json.dumps(schemas["ChatRequest"]["properties"]["tools"])
    schemas["ChatRequest"]["properties"]["tools"] = _with_schemas(json.loads(tools))
    return document


def _with_schemas(part: Any) -> Any:
    """A tool's parameters are a schema."""
    if isinstance(part, list):
        return [_with_schemas(item) for item in part]
    if isinstance(part, dict):
        return {name: _ANY_SCHEMA if name == "parameters" else _with_schemas(value) for name, value in part.items()}
    return part


@cache
def operations(endpoint: Endpoint) -> list[Any]:
    """Those that take a body several times: there is more to make up."""
    schema = schemathesis.openapi.from_dict(document_for(endpoint))
    schema.config.update(base_url=endpoint.url)
    found: list[Any] = [result.ok() for result in schema.get_all_operations()]  # pyright: ignore[reportAttributeAccessIssue]
    return [each for each in found for _ in range(6 if each.body else 1)]


def ask_in_many_ways(endpoint: Endpoint, number: int, seed: int, cases: int) -> Outcome:
    """Batch `number`: requests to one operation, at most `cases` of them, good ones or bad ones."""
    all_of_them = operations(endpoint)
    turn, place = divmod(number, len(all_of_them))
    mode = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)[turn % 2]
    outcome = Outcome()

    @hypothesis.seed(seed * 1_000_003 + number)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=_SLOW_TO_MAKE,
        phases=[hypothesis.Phase.generate],
    )
    @given(case=all_of_them[place].as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if outcome.outcomes.total() < cases:
            shorten(case.body)
            _judge(case, endpoint, outcome)

    with suppress(Unsatisfiable), warnings.catch_warnings():  # nothing can be wrong with a request that has no parts
        warnings.simplefilter("ignore")
        ask()
    return outcome


def shorten(body: Any) -> None:
    """Make it ask for short answers, so that it is the server's time that is measured and not the model's."""
    if not isinstance(body, dict):
        return
    for name, most in (("max_tokens", MOST_TOKENS), ("max_completion_tokens", MOST_TOKENS), ("n", MOST_CHOICES)):
        if type(body.get(name)) is int and body[name] > most:
            body[name] = most
    if body.get("max_tokens") is None and body.get("max_completion_tokens") is None:
        body["max_tokens"] = MOST_TOKENS


def _judge(case: Any, endpoint: Endpoint, outcome: Outcome) -> None:
    began = time.monotonic()
    try:
        answer = case.call(headers={"Authorization": f"Bearer {endpoint.api_key}"}, timeout=PATIENCE_SECONDS)
    except Exception as error:  # of the client's library, which has many
        outcome.outcomes["no answer"] += 1
        outcome.problems.append(f"no answer, {type(error).__name__}: {case.as_curl_command()[:MOST_SHOWN]}")
        return
    seconds, status = time.monotonic() - began, answer.status_code
    outcome.outcomes[str(status)] += 1
    documented = str(status) in case.operation.definition.raw["responses"]
    is_refusal = status == 503 and documented and any(name.lower() == RETRY_AFTER for name in answer.headers)
    if status >= 500 and not is_refusal:
        outcome.problems.append(f"HTTP {status}: {case.as_curl_command()[:MOST_SHOWN]}")
    if seconds > SLOW_SECONDS:
        sent = answer.request
        outcome.slow.append(Slow(sent.method, sent.url, dict(sent.headers), sent.body, seconds))
    else:
        outcome.slowest_seconds = max(outcome.slowest_seconds, seconds)


def again(slow: Slow) -> float:
    """How long it takes at best, to be asked when nobody else asks."""
    seconds = slow.seconds
    for _ in range(AGAIN):
        began = time.monotonic()
        requests.request(slow.method, slow.url, headers=slow.headers, data=slow.body, timeout=PATIENCE_SECONDS)
        seconds = min(seconds, time.monotonic() - began)
    return seconds
