"""Which group an upgrade may replace."""

from __future__ import annotations

import pytest

from appliance.machine.standby import standby
from engine.errors import CannotStart

ACTIVE_B = {"slot": "b", "stage": "active"}
LEAVING_A = {"slot": "a", "stage": "leaving"}


def test_the_slot_that_does_not_serve_stands_by() -> None:
    assert standby({"groups": [LEAVING_A, ACTIVE_B], "split_in_force": "40/60"}) == "b a 40 60"


@pytest.mark.parametrize("groups", [[], [LEAVING_A]])
def test_where_none_serves_there_is_none_to_replace(groups: list[dict[str, str]]) -> None:
    with pytest.raises(CannotStart, match="No group serves"):
        standby({"groups": groups, "split_in_force": "40/60"})
