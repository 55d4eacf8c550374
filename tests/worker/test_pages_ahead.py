"""A request ends while a step that still writes its page is in flight: nobody else may have that page yet."""

from __future__ import annotations

import pytest

from tests.scheduler.rehearsal import Rehearsal, undisturbed
from tests.worker.running_ahead import AheadRehearsal

PREFILL, DECODE = b"prefill-1", b"decode-1"


@pytest.mark.parametrize("length", range(3, 10))
@pytest.mark.parametrize("stage_type", [Rehearsal, AheadRehearsal])
def test_the_next_in_line_is_not_written_over(stage_type: type[Rehearsal], length: int) -> None:
    """The pool has room for one of the two requests only, and workers take turns as they come."""
    stage = stage_type(pages=8, prefix_caching=False)
    stage.submit(1, prompt=length, max_tokens=20)
    output = undisturbed(stage.requests[1])
    stage = stage_type(pages=8, prefix_caching=False)
    stop = next(token for at, token in enumerate(output) if at > 1 and token not in output[:at])
    first = stage.submit(1, prompt=length, max_tokens=20, stop_token_ids=(stop,))
    second = stage.submit(2, prompt=29, max_tokens=3)
    while 2 not in stage.finished:
        stage.work(DECODE)
        stage.work(PREFILL)
    assert stage.outputs == {1: undisturbed(first), 2: undisturbed(second)}
