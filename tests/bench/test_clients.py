"""Difficult clients before a real gateway, and what pairs of rounds with and without them say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bench.endpoint import Endpoint
from bench.faults.clients_result import ClientsConfiguration, ClientsLine, ClientsResults, ClientsRound
from bench.faults.clients_table import HEADINGS, by_load, rows, summaries
from bench.faults.crowd import Crowd
from bench.faults.difficult import Kind, Task
from bench.faults.open_files import TooFewFiles, allow
from bench.faults.others import Others
from bench.machine import Machine
from bench.report import report
from bench.results import BadResults, Origin
from engine.wire.to_scheduler import Cancel
from tests.gateway.fake_scheduler import READY
from tests.gateway.running_gateway import RunningGateway, running_gateway
from tests.gateway.stand import KEY, MODEL
from tests.gateway.tiny_model import save_tiny_model

CLIENTS = 12
VOCABULARY = 64
ROOMY = msgspec.structs.replace(READY, queue_limit=1000, max_model_len=100_000, pool_tokens=1_000_000)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    model_path = save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    with running_gateway(model_path, ROOMY, step_seconds=0.01, header_timeout_seconds=600) as gateway:
        gateway.scheduler.script = lambda request: [*range(10, 60)] * 40
        yield gateway


def endpoint(gateway: RunningGateway) -> Endpoint:
    return Endpoint("127.0.0.1", "127.0.0.1", gateway.port, False, None, KEY, "/v1", MODEL)


def task(gateway: RunningGateway, kind: Kind, is_kind: bool = False) -> Task:
    return Task(kind, endpoint(gateway), CLIENTS, 0.1, VOCABULARY, is_kind)


@pytest.mark.system
@pytest.mark.parametrize("kind", [Kind.READERS, Kind.SLOWLORIS, Kind.IDLE])
def test_all_come_and_stay_while_others_are_answered(gateway: RunningGateway, kind: Kind) -> None:
    with Crowd(task(gateway, kind)) as crowd:
        measured = Others(endpoint(gateway), 2, 5, 20.0, VOCABULARY).measure(0.3)
        seen = crowd.leave()
    assert (seen.present, seen.ends) == (CLIENTS, {})
    assert len(measured.new) == 6 and len(measured.streamed) >= 2
    assert all(record.failure is None for record in (*measured.new, *measured.streamed))


@pytest.mark.system
def test_who_leaves_mid_stream_is_cancelled(gateway: RunningGateway) -> None:
    gateway.scheduler.forget_received()
    with Crowd(task(gateway, Kind.LEAVERS)) as crowd:
        cancelled = {gateway.scheduler.expect(Cancel).request_id for _ in range(CLIENTS)}
        seen = crowd.leave()
    assert len(cancelled) == CLIENTS and seen.ends == {"left": CLIENTS}


@pytest.mark.system
def test_requests_that_nobody_takes_have_failed() -> None:
    nobody = Endpoint("127.0.0.1", "127.0.0.1", 1, False, None, KEY, "/v1", MODEL)
    measured = Others(nobody, 1, 5, 10.0, VOCABULARY).measure(0.2)
    assert {record.failure for record in (*measured.new, *measured.streamed)} == {"no connection"}


def test_more_files_than_the_machine_has_are_refused_in_a_sentence() -> None:
    allow(1)
    with pytest.raises(TooFewFiles, match="need 4294967296 open files, and the limit of this user"):
        allow((1 << 32) - 256)


# ── what they say ───────────────────────────────────────────────────────────────────────────────────────────────────

ORIGIN = Origin("2026-01-01T00:00:00+00:00", "python -m bench.faults clients", Machine({}, "3.11.0", 2))
IDLE = ClientsConfiguration(Kind.IDLE, "demo on cpu by duty", 10_000, 30.0, 4, 96, 8.0, 2)
LEAVERS = msgspec.structs.replace(IDLE, kind=Kind.LEAVERS, clients=1000)


def a_round(tpot_ms: float, ttft_ms: float, **changes: object) -> ClientsRound:
    tpots, ttfts = (tpot_ms / 1000,) * 3, (ttft_ms / 1000,) * 3
    return msgspec.structs.replace(ClientsRound(tpots, ttfts, {}, 9000, {"closed": 2}, 0, 40 << 20), **changes)


def a_line(calm: ClientsRound, difficult: ClientsRound, configuration: ClientsConfiguration = IDLE) -> ClientsLine:
    return ClientsLine(ORIGIN, configuration, calm, difficult, 1.5)


LINES = [
    a_line(a_round(10, 50), a_round(10.5, 80)),
    a_line(a_round(20, 50), a_round(21, 80, failures={"HTTP 503": 2}, pages_left=3)),
    a_line(a_round(40, 50), a_round(42, 80, pages_left=None)),
]


def test_each_round_is_compared_with_its_neighbour() -> None:
    """A machine that grows slower all the while is not the clients' doing."""
    (summed,) = summaries(LINES)
    assert summed.slower == pytest.approx(0.05) and summed.differ == pytest.approx(1.5)


def test_the_table_has_a_column_for_each_kind_and_a_row_for_each_figure() -> None:
    (together,) = by_load(summaries([*LINES, a_line(a_round(10, 50), a_round(10, 50), LEAVERS)]))
    found = {heading: cells for heading, *cells in rows(together)}
    assert list(found) == list(HEADINGS) and found[""] == ["10,000 idle", "1,000 leave mid-stream"]
    assert found["a token takes longer, median pair"] == ["+5.0%", "+0.0%"]
    assert found["new requests: first token p99 with them, ms"][0] == "80.0"
    assert found["failed of both, with them"] == ["2 HTTP 503", "0"]
    assert found["pages in use afterwards"] == ["0, 3, not served", "0"]
    assert found["how their connections ended meanwhile"][0] == "6 closed"


def test_the_report_has_a_table_of_clients_and_its_commands() -> None:
    page = report([], clients=LINES)
    assert "| TPOT p50 without them, ms | 20.0 |" in page
    assert "python -m bench.faults clients    # 2026-01-01" in page


def test_what_was_done_is_found_again_and_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "clients.jsonl"
    ClientsResults(path).append(LINES[0])
    again = ClientsResults(path)
    assert (again.done(IDLE, ORIGIN), again.done(LEAVERS, ORIGIN)) == (1, 0)
    path.write_text("{}\n")
    with pytest.raises(BadResults, match="Line 1"):
        ClientsResults(path)
