"""Whole commands as a user gives them, against a real gateway; what they append, skip, and leave for later."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from typer.testing import CliRunner, Result

from bench.budget import STOPPED, Budget, OutOfBudget
from bench.cli import app
from bench.endpoint import Endpoint
from bench.hopeless import MissCount
from bench.machine import Machine
from bench.plot import Figure, curves, svg
from bench.rate_search import RateSearch
from bench.report import report
from bench.results import BadResults, Configuration, Origin, Results, RunLine, SearchLine, without_key
from bench.runs import Bench, CannotJudge, Conditions
from bench.summary import Summary, Targets, percentiles
from engine.errors import CANNOT_START
from tests.bench.answers import make_record
from tests.bench.test_client import ROOMY
from tests.gateway.stand import KEY, Stand
from tests.gateway.tiny_model import save_tiny_model

MACHINE = Machine({"semi-pd": "1.2.3"}, "3.11.0", 4, ("Some GPU",), "580.1")
ASKED = Configuration(
    "semi-pd", "azure-conv", 60.0, 10.0, 0, split="80/20 by green", rate=4.0, targets=Targets(500.0, 30.0)
)
RUN = ["--mix", "fixed:12/6", "--seconds", "0.3", "--warmup-seconds", "0.1", "--vocabulary", "50"]


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    path = save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
    with Stand(path, ROOMY) as stand:
        stand.scheduler.script = lambda request: list(range(10, 60))
        yield stand


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results file of a user who has no running appliance."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "results" / "speed.jsonl"


def bench(stand: Stand, path: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--url", stand.url, "--api-key", KEY, "--results", str(path)])


def a_summary(attainment: float | None = 0.95, lag_ms: float = 0.5) -> Summary:
    latency = percentiles([0.0625, 0.125])
    return Summary(
        requests=10, finished=10, failures={}, input_tokens=100, output_tokens=50, seconds=60.0,
        output_tokens_per_second=123.0, requests_per_second=4.0, ttft_ms=latency, tpot_ms=latency, gap_ms=latency,
        end_to_end_ms=latency, attainment=attainment, is_cut_short=False, late_ms_p99=lag_ms, loop_lag_ms_p99=lag_ms,
    )  # fmt: skip


def a_run(rate: float = 4.0, summary: Summary | None = None, **changes: object) -> RunLine:
    origin = Origin("2026-01-02T03:04:05+00:00", "semi-pd bench rate --rate 4", MACHINE)
    asked = msgspec.structs.replace(ASKED, rate=rate, **changes)
    return RunLine(origin, asked, summary or a_summary())


def test_a_run_is_shown_and_kept(stand: Stand, path: Path) -> None:
    said = bench(stand, path, "rate", *RUN, "--rate", "30", "--ttft-ms", "60000", "--system", "a gateway")

    assert said.exit_code == 0, said.output
    (line,) = Results(path).of_kind(RunLine)
    assert line.configuration.system == "a gateway" and line.configuration.split == ""
    assert line.summary.requests == line.summary.finished > 0
    assert line.summary.attainment == 1.0
    assert line.summary.output_tokens == 6 * line.summary.finished
    assert f"{line.summary.finished} of {line.summary.requests} finished" in said.output


def test_streams_have_a_tail(stand: Stand, path: Path) -> None:
    asked = ["--mix", "fixed:12/40", "--streams", "3", "--rounds", "2", "--vocabulary", "50"]
    said = bench(stand, path, "streams", *asked)

    assert said.exit_code == 0, said.output
    (line,) = Results(path).of_kind(RunLine)
    assert (line.summary.requests, line.summary.finished) == (6, 6)
    assert line.summary.output_tokens_per_second * line.summary.seconds == pytest.approx(6 * 40)


def test_a_trace_is_sent_as_it_is(stand: Stand, path: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    lengths = [(5, 3), (6, 1), (7, 2)]
    trace.write_text(
        "".join(
            f'{{"at_seconds": {number / 50}, "input_tokens": {into}, "output_tokens": {out}}}\n'
            for number, (into, out) in enumerate(lengths)
        )
    )
    said = bench(stand, path, "trace", str(trace), "--vocabulary", "50")

    assert said.exit_code == 0, said.output
    (line,) = Results(path).of_kind(RunLine)
    assert (line.summary.finished, line.summary.input_tokens, line.summary.output_tokens) == (3, 18, 6)


def test_what_counts_is_not_measured_again(stand: Stand, path: Path) -> None:
    words = ["rate", *RUN, "--rate", "20"]
    assert bench(stand, path, *words).exit_code == 0
    (line,) = Results(path).of_kind(RunLine)
    in_time = msgspec.structs.replace(line.summary, late_ms_p99=0.1, loop_lag_ms_p99=0.1)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(line, summary=in_time)) + b"\n")

    stand.scheduler.forget_received()
    assert bench(stand, path, *words, "--resume").exit_code == 0
    assert len(Results(path).lines) == 1
    assert bench(stand, path, *words).exit_code == 0
    assert len(Results(path).lines) == 2


def test_a_run_of_a_late_client_is_measured_again(path: Path) -> None:
    results = Results(path)
    results.append(a_run(summary=a_summary(lag_ms=2.5)))

    assert results.run_of(ASKED) is None
    results.append(a_run())
    assert Results(path).run_of(ASKED) == a_run()


def test_the_budget_ends_it_before_the_next_run(stand: Stand, path: Path) -> None:
    said = bench(stand, path, "rate", *RUN, "--rate", "20", "--budget-minutes", "0.001")

    assert said.exit_code == STOPPED
    assert "--resume" in said.output
    assert not path.exists()


def test_a_budget_is_used_up_by_time() -> None:
    now = [0.0]
    budget = Budget(1.0, clock=lambda: now[0])
    budget.require(60.0, "x")
    now[0] = 1.0
    with pytest.raises(OutOfBudget):
        budget.require(60.0, "x")


@pytest.mark.parametrize(
    "words",
    [
        ["rate", "--mix", "nonsense", "--rate", "1"],
        ["search", "--mix", "azure-conv"],
        ["plot", "--mix", "azure-conv", "--out", "x.svg"],
        ["shape", "x", "--shape", "huge"],
    ],
)
def test_what_cannot_be_done_is_a_sentence(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    said = CliRunner().invoke(app, words)

    assert said.exit_code == CANNOT_START
    assert said.output.strip().endswith(".")


def test_a_run_is_hopeless_when_too_many_have_missed() -> None:
    count = MissCount(Targets(ttft_ms=100), begin=10.0, allowed=1.5)
    missed = make_record([12.0], due=11.0)

    assert not count(make_record([9.0], due=5.0))  # the warm-up
    assert not count(make_record([11.05], due=11.0))
    assert [count(missed), count(missed)] == [False, True]


class KnownServer(Bench):
    """A bench whose server keeps the targets up to 10 requests a second; `lag_ms` is the client's own lag."""

    def __init__(self, results: Results, is_resumed: bool = False, lag_ms: float = 0.5):
        conditions = Conditions(Endpoint("", "", 0, False, None, "", "", ""), 1, 0.0, MACHINE, is_resumed)
        super().__init__(conditions, results, Budget(None), say=lambda line: None)
        self._lag_ms = lag_ms
        self.asked: list[float] = []

    def run(self, configuration: Configuration) -> Summary:
        assert configuration.rate is not None and configuration.goal == 0.9
        self.asked.append(configuration.rate)
        return a_summary(0.95 if configuration.rate <= 10 else 0.4, self._lag_ms)


def test_a_search_is_kept_and_not_made_again(path: Path) -> None:
    asked = msgspec.structs.replace(ASKED, rate=None)
    first = KnownServer(Results(path))
    found = first.search(asked, RateSearch(4.0, resolution=0.05), 0.9)
    again = KnownServer(Results(path), is_resumed=True)

    assert found.highest_rate is not None and 9.5 <= found.highest_rate <= 10.0
    assert sorted(found.attainments) == sorted(first.asked)
    assert again.search(asked, RateSearch(4.0, resolution=0.05), 0.9) == found
    assert again.asked == []


def test_a_search_stops_where_the_client_is_late(path: Path) -> None:
    with pytest.raises(CannotJudge, match="try more --clients"):
        KnownServer(Results(path), lag_ms=2.5).search(ASKED, RateSearch(4.0), 0.9)


def test_a_broken_results_file_is_named(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"type":"else"}\n')

    with pytest.raises(BadResults, match="Line 1"):
        Results(path)


def test_the_key_never_gets_into_the_results() -> None:
    assert without_key(["semi-pd", "--api-key", "sk-1", "--api-key=sk-2", "a b"]) == (
        "semi-pd --api-key … --api-key=… 'a b'"
    )


def test_the_report_shows_what_counts(path: Path) -> None:
    results = Results(path)
    results.append(a_run())
    results.append(a_run(5.0, a_summary(lag_ms=3.0)))
    asked = msgspec.structs.replace(ASKED, rate=None, goal=0.9)
    results.append(SearchLine(a_run().origin, asked, 21.5, {20.0: 0.97, 21.5: 0.91, 22.0: 0.85}))
    page = report(Results(path).lines)

    assert "azure-conv at 4 req/s" in page and "azure-conv at 5 req/s" not in page
    assert "| 21.5 |" in page and "22: 85%" in page
    assert "Some GPU, driver 580.1, semi-pd 1.2.3, Python 3.11.0" in page
    assert "1 further run" in page
    assert "semi-pd bench rate --rate 4    # 2026-01-02" in page
    assert "Nothing has been measured yet" in report([])


def test_a_plot_is_a_picture_with_a_line_for_each_system() -> None:
    lines = [a_run(rate) for rate in (8.0, 4.0)] + [a_run(4.0, system="peer <1>", split="")]
    drawn = curves(lines, "azure-conv", Figure.TTFT, "p50")
    root = ElementTree.fromstring(svg(drawn, "title", "ms"))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]

    assert [curve.points for curve in drawn] == [[(4.0, 93.75)], [(4.0, 93.75), (8.0, 93.75)]]
    assert {"title", "peer <1>", "semi-pd (80/20 by green)"} <= set(texts)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 3


def test_a_late_run_is_not_drawn() -> None:
    assert curves([a_run(4.0, a_summary(lag_ms=9.0))], "azure-conv", Figure.ATTAINMENT, "p95") == []


def test_a_line_is_read_as_it_was_written() -> None:
    line = a_run(rate=math.pi)

    assert msgspec.json.decode(msgspec.json.encode(line), type=RunLine) == line
