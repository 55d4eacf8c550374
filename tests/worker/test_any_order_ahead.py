"""Whatever happens in whatever order, with workers that launch a step before they have seen the last one."""

from __future__ import annotations

from hypothesis import settings

from tests.scheduler import test_any_order
from tests.worker.running_ahead import AheadRehearsal


class AnyOrderAhead(test_any_order.AnyOrder):
    stage_type = AheadRehearsal


TestAnyOrderAhead = AnyOrderAhead.TestCase
TestAnyOrderAhead.settings = settings(test_any_order.TestAnyOrder.settings, max_examples=40)
