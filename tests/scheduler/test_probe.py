"""A gateway's probe is computed as any request is, and is in no count."""

from __future__ import annotations

from engine.request import Request, SamplingParams
from engine.scheduler.service import load_snapshot
from tests.scheduler.rehearsal import GATEWAY, Rehearsal

PROBE = Request(9, [1], SamplingParams(max_tokens=2, temperature=0.0), priority=-5, is_probe=True)


def counts(rehearsal: Rehearsal) -> tuple[object, ...]:
    load, status = load_snapshot(rehearsal.scheduler), rehearsal.scheduler.status
    report = rehearsal.scheduler.load_report()
    return (
        (load.waiting, load.running, load.free_pages, load.live_by_key),
        (status.waiting, status.prefilling, status.decoding, status.free_pages),
        (report.requests, report.cancelled),
    )


def test_at_every_moment_of_a_probe_the_counts_are_those_without_it() -> None:
    rehearsal = Rehearsal()
    before = counts(rehearsal)
    rehearsal.scheduler.submit(GATEWAY, PROBE)
    assert counts(rehearsal) == before, "while it waits"
    rehearsal.settle()
    assert counts(rehearsal) == before, "while its prompt is computed"
    while 9 not in rehearsal.finished:
        for peer in list(rehearsal.workers):
            rehearsal.work(peer)
        assert counts(rehearsal) == before
    rehearsal.finish()
    assert counts(rehearsal) == before and not rehearsal.scheduler.live.probes
    assert len(rehearsal.outputs[9]) == 2
    rehearsal.check_pages()


def test_a_probe_does_not_lower_what_a_key_that_comes_back_starts_with() -> None:
    rehearsal = Rehearsal()
    rehearsal.submit(1, 4, 3, key_id="busy")
    rehearsal.finish()
    rehearsal.submit(2, 4, 40, key_id="busy")
    rehearsal.scheduler.submit(GATEWAY, PROBE)
    rehearsal.submit(3, 4, 1, key_id="comes back")
    service = rehearsal.scheduler.prefill.waiting._service
    assert service["comes back"] >= service["busy"] > 0


def test_a_probe_that_is_cancelled_is_forgotten_like_any() -> None:
    rehearsal = Rehearsal()
    rehearsal.scheduler.submit(GATEWAY, PROBE)
    rehearsal.settle()
    rehearsal.cancel(9)
    rehearsal.finish()
    assert not rehearsal.scheduler.live.probes and not rehearsal.scheduler.live
    assert not rehearsal.scheduler.load_report().cancelled
