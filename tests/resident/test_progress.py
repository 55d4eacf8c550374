"""A long load is reported once a second, a short one not at all."""

from __future__ import annotations

from engine.resident.progress import Progress


def test_at_most_one_report_a_second_and_none_before_the_first() -> None:
    now = 100.0
    said: list[int] = []
    progress = Progress(said.append, lambda: now)
    for done, now in ((1, 100.2), (2, 100.9), (3, 101.0), (4, 101.5), (5, 102.5), (6, 102.6), (8, 110.0)):  # noqa: B007
        progress(done, 8)
    assert said == [37, 62, 100]


def test_a_tiny_model_is_loaded_in_silence() -> None:
    said: list[int] = []
    progress = Progress(said.append, lambda: 0.0)
    for done in range(1, 5):
        progress(done, 4)
    assert said == []
