"""Requests made up from the OpenAPI document, good and bad: none may make the server fail."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from tests.gateway.running_gateway import PATIENCE_SECONDS, RunningGateway, running_gateway
from tests.gateway.stand import KEY

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # other people's deprecations at import
    schemathesis = pytest.importorskip("schemathesis")

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(900)]

EXAMPLES = 50
"""Of each operation and each way to make them."""

_SLOW_TO_MAKE = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)


@pytest.fixture(scope="module")
def gateway(model_path: Path) -> Iterator[RunningGateway]:
    with running_gateway(model_path) as gateway:
        gateway.scheduler.script = lambda request: [70, 71]
        yield gateway


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.filterwarnings("ignore")  # what schemathesis warns of is its own affair
def test_no_request_makes_the_server_fail(gateway: RunningGateway, mode: str) -> None:
    schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
    asked = 0
    for operation in (result.ok() for result in schema.get_all_operations()):
        asked += ask_in_many_ways(operation, schemathesis.GenerationMode(mode))
    assert asked > EXAMPLES
    with gateway.client() as client:
        assert client.get("/health").status_code == 200


def ask_in_many_ways(operation: Any, mode: Any) -> int:
    """The number of requests that were made of one operation; some operations have no bad request."""
    asked = 0

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=_SLOW_TO_MAKE)
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        nonlocal asked
        response = case.call(headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE_SECONDS)
        asked += 1
        assert response.status_code < 500, (case.as_curl_command(), response.content)

    with suppress(Unsatisfiable):  # nothing can be wrong with a request that has no parts
        ask()
    return asked
