"""Requests made up from the OpenAPI document, good and bad: none may make the server fail.

`python -m bench.faults.fuzz requests` makes up more of them, for a whole appliance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.faults.fuzz.any_request import Endpoint, ask_in_many_ways, operations, shorten
from tests.gateway.running_gateway import RunningGateway, running_gateway
from tests.gateway.stand import KEY, MODEL

pytestmark = pytest.mark.filterwarnings("ignore")  # what schemathesis warns of is its own affair

EXAMPLES = 50
"""Of each operation and each way to make them; of those that take a body, several times as many."""


@pytest.fixture(scope="module")
def gateway(model_path: Path) -> Iterator[RunningGateway]:
    with running_gateway(model_path) as gateway:
        gateway.scheduler.script = lambda request: [70, 71]
        yield gateway


@pytest.mark.system
@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_request_makes_the_server_fail(gateway: RunningGateway) -> None:
    endpoint = Endpoint(gateway.url, KEY, MODEL)
    outcomes = Counter[str]()
    for number in range(2 * len(operations(endpoint))):
        outcome = ask_in_many_ways(endpoint, number, 0, EXAMPLES)
        assert all(status < "500" for status in outcome.outcomes), outcome.problems
        outcomes += outcome.outcomes
    assert outcomes["200"] > EXAMPLES and outcomes["400"] > EXAMPLES, "they get through, and they do not"
    with gateway.client() as client:
        assert client.get("/health").status_code == 200


def test_answers_are_asked_for_short() -> None:
    body = {"max_tokens": 10**6, "n": 100, "prompt": "a"}
    shorten(body)
    assert body == {"max_tokens": 8, "n": 8, "prompt": "a"}
    strange = {"max_tokens": "9", "n": True, "max_completion_tokens": 3}
    shorten(strange)
    assert strange == {"max_tokens": "9", "n": True, "max_completion_tokens": 3}
    shorten(None)
