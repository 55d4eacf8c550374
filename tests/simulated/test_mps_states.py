"""The MPS server of a slot: one fault is everybody's, and it is over when the last has left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulated.mps_states import Mps, MpsState


def serving(*clients: int) -> Mps:
    mps = Mps()
    for client in clients:
        mps = mps.connected(client)
    return mps


def test_a_client_that_drained_harms_nobody() -> None:
    assert serving(1, 2).left(1) == Mps(MpsState.ACTIVE, frozenset({2}))


def test_a_client_that_ends_with_work_is_a_fault_of_all() -> None:
    mps = serving(1, 2).left(1, was_computing=True)
    assert mps.state is MpsState.FAULT
    assert mps.is_poisoned
    assert mps.told().state is MpsState.REFUSING


def test_nobody_is_taken_until_all_have_left() -> None:
    mps = serving(1, 2, 3).left(1, was_computing=True).told().left(2)
    with pytest.raises(ValueError, match="takes nobody until its clients have left"):
        mps.connected(4)
    assert mps.left(3).connected(4) == serving(4)


def test_the_last_client_takes_the_fault_along() -> None:
    assert serving(1).left(1, was_computing=True) == Mps()


@given(st.lists(st.tuples(st.sampled_from(["come", "leave", "die", "told"]), st.integers(1, 4)), max_size=30))
def test_whatever_happens_it_is_poisoned_only_while_clients_of_the_fault_are_there(
    events: list[tuple[str, int]],
) -> None:
    mps = Mps()
    for what, client in events:
        if what == "come" and mps.takes_clients:
            mps = mps.connected(client)
        elif what in ("leave", "die") and client in mps.clients:
            mps = mps.left(client, was_computing=what == "die")
        elif what == "told":
            mps = mps.told()
        assert mps.clients or mps.state is MpsState.ACTIVE
        assert mps.takes_clients != mps.is_poisoned
