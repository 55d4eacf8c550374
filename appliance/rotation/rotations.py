"""What the table decides about rotations, carried out: whatever happens passes here, in the manager's thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from appliance.attention import Attention
from appliance.profile.offer import Offer
from appliance.rotation.events import (
    Action,
    Asked,
    Change,
    Changed,
    Event,
    Finish,
    Form,
    GiveUp,
    Gone,
    Lost,
    Ready,
    Retire,
    SchedulerLost,
    TimedOut,
)
from appliance.rotation.finding import Found
from appliance.rotation.history import History, RotationRecord, Way
from appliance.rotation.links import Links
from appliance.rotation.memory import GroupMemory
from appliance.rotation.requests import Requests
from appliance.rotation.state import Stage, State
from appliance.rotation.table import step
from engine.allocation import SMAllocation

READY_SECONDS = 60.0
"""How long a group may take to be ready."""
FIRST_READY_SECONDS = 1800.0
"""The first one, and any other for which the weights are loaded; and kernels may have to be built."""
CHANGE_SECONDS = 10.0
"""How long a group may take to change its split in place; each worker does it between two of its steps."""
RETIRE_SECONDS = 60.0
"""How long a group may take to drain before it is killed; it has nothing to do any more."""


class Rotations:
    """The table's state, who waits for a rotation, and what became of them.

    `waits` until `begin_with` has told what there is, and puts aside what happens before. `on_state` is shown each new
    state, `on_loss` the slot whose group has ended untold; `say` takes a line for a person, `fail` the reason when no
    group can be had any more.
    """

    def __init__(
        self,
        offer: Offer,
        links: Links,
        attention: Attention,
        memory: GroupMemory,
        history: History,
        *,
        in_place: bool,
        keeps_warm: bool,
        waits: bool,
        is_loading: Callable[[], bool],
        on_state: Callable[[State], None],
        on_loss: Callable[[str], None],
        say: Callable[[str], None],
        fail: Callable[[str], None],
    ):
        self.state = State(keeps_warm=keeps_warm)
        self._offer = offer
        self._links = links
        self._attention = attention
        self._memory = memory
        self._history = history
        self._requests = Requests(history)
        self._in_place = in_place
        self._is_loading = is_loading
        self._unheard: list[Event] | None = [] if waits else None
        self._on_state = on_state
        self._on_loss = on_loss
        self._say = say
        self._fail = fail

    def begin_with(self, found: Found) -> None:
        """Go on where another controller stopped, with what has happened since the question."""
        self.state = found.state
        for action in found.actions:
            self._links.do(action)
        unheard, self._unheard = self._unheard or [], None
        for event in unheard:
            self.happen(event)

    def end(self) -> None:
        """Whoever waits is answered; nothing is begun any more."""
        self.state = replace(self.state, is_stopping=True)
        self.finish("The appliance stops.")
        self.start_next()

    def want(self, allocation: SMAllocation, reason: str, new_group: bool) -> Future[RotationRecord]:
        refusal = self._offer.refusal(allocation)
        result = self._requests.add(allocation, reason, new_group, refusal)
        self.start_next()
        return result

    def start_next(self) -> None:
        """Begin the rotation that waits longest, once nothing else is under way."""
        while wanted := self._requests.begin_next(self.state):
            self.happen(Asked(wanted.record.asked, wanted.new_group or not self._in_place))

    def happen(self, event: Event) -> None:
        """Let the table decide, carry it out, and see who is next."""
        if self._unheard is not None:
            self._unheard.append(event)
            return
        self._history.note(event)
        if isinstance(event, Ready) and (warning := self._memory.warning(event.epoch)):
            self._say(warning)
        problem = getattr(event, "problem", "")
        is_told_otherwise = isinstance(event, (Changed, SchedulerLost))  # by the rotation that follows, or in full
        if problem and not is_told_otherwise and not self.state.is_stopping:
            self._say(problem)
        before = self.state
        self.state, actions = step(before, event)
        self._note_way(before, problem)
        for action in actions:
            self._carry_out(action)
        if isinstance(event, Gone) and (group := before.find(event.epoch)) and group.stage is not Stage.RETIRING:
            self._on_loss(group.slot)
        self._on_state(self.state)
        self.start_next()

    def _note_way(self, before: State, problem: str) -> None:
        """How what was asked for is tried now, if that is another way than before."""
        now = self.state
        if now.changing_to is not None and before.changing_to is None and now.active is not None:
            self._requests.goes(Way.IN_PLACE, now.active.epoch, change=now.changes)
        elif now.rotating_to not in (None, before.rotating_to):
            self._requests.goes(Way.NEW_GROUP, now.rotating_to, not_in_place=problem)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Finish(_, problem):
                self.finish(problem)
                return
            case GiveUp(problem):
                self._fail(f"The workers cannot be kept running. {problem}")
                return
            case Change(epoch, change):
                late = Changed(epoch, change, f"It was not taken within {CHANGE_SECONDS:g} s.")
                self._attention.after(CHANGE_SECONDS, partial(self.happen, late))
            case Form(epoch) if no_room := self._no_room():
                self.happen(Gone(epoch, no_room))  # nothing of it was started
                return
            case Form(epoch):
                seconds = FIRST_READY_SECONDS if epoch == 1 or self._is_loading() else READY_SECONDS
                self._attention.after(seconds, partial(self.happen, TimedOut(epoch, seconds)))
            case Retire(epoch):
                late = Lost(epoch, f"The group of epoch {epoch} did not end within {RETIRE_SECONDS:g} s.")
                self._attention.after(RETIRE_SECONDS, partial(self.if_there, late))
        self._links.do(action)

    def if_there(self, late: Lost) -> None:
        """Nothing is said of a group that has ended in time."""
        if any(group.epoch == late.epoch for group in self.state.groups):
            self.happen(late)

    def _no_room(self) -> str:
        """Why another group would not fit beside the one that serves; where none does, it is tried all the same."""
        serving = self.state.active
        return self._memory.refusal(serving.epoch) if serving else ""

    def finish(self, problem: str) -> None:
        was_asked_for = self._requests.finish(problem)
        if problem and not was_asked_for:
            self._fail(f"The workers cannot be started. {problem}")
