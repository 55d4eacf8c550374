"""When another scheduler is started, and how often."""

from __future__ import annotations

from dataclasses import replace

from appliance.rotation.restarts import LOSS_WINDOW_SECONDS, MAX_LOSSES
from appliance.rotation.scheduler_losses import SchedulerLosses
from appliance.rotation.state import Group, Stage, State
from engine.allocation import SMAllocation

SPLIT = SMAllocation(50, 50)
OLD, NEXT = Group(4, "a", SPLIT, Stage.RETIRING), Group(5, "b", SPLIT)
KILLED = "The scheduler process was ended by SIGKILL."


class Told:
    """Losses by a clock that stands until it is set, and what came of them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.starts = 0
        self.said: list[str] = []
        self.losses = SchedulerLosses(self.start, self.said.append, lambda: self.now)

    def start(self) -> None:
        self.starts += 1


def test_the_next_starts_once_when_the_last_group_of_the_former_is_gone() -> None:
    told = Told()
    told.losses.begin(KILLED, last_epoch=4)
    told.losses.see(State((OLD, NEXT), 5))
    assert told.starts == 0
    told.losses.see(State((NEXT,), 5))
    told.losses.see(State((NEXT,), 5))
    assert told.starts == 1 and told.losses.is_under_way
    told.now += 2.5
    told.losses.see(State((replace(NEXT, stage=Stage.ACTIVE),), 5))
    assert not told.losses.is_under_way
    assert told.said == [f"{KILLED} Another took over, with a new group, after 2.50 s."]


def test_one_that_ends_before_it_served_is_followed_by_another() -> None:
    told = Told()
    told.losses.begin(KILLED, last_epoch=4)
    told.losses.see(State((NEXT,), 5))
    told.losses.begin(KILLED, last_epoch=5)
    told.losses.see(State((NEXT,), 5))
    assert told.starts == 1, "what was formed for it must end too"
    told.losses.see(State((), 5))
    assert told.starts == 2


def test_none_is_started_while_the_appliance_stops() -> None:
    told = Told()
    told.losses.begin(KILLED, last_epoch=4)
    told.losses.see(State((), 4, is_stopping=True))
    assert told.starts == 0


def test_too_many_in_too_short_a_time_are_refused_and_later_allowed_again() -> None:
    told = Told()
    for _ in range(MAX_LOSSES):
        assert not told.losses.refusal()
        told.losses.begin(KILLED, last_epoch=4)
    assert "4th" in told.losses.refusal()
    told.now += LOSS_WINDOW_SECONDS
    assert not told.losses.refusal()
