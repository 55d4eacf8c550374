"""The controller: the product's table and lines; its timers, and whoever starts processes for it, are simulated."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

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
    KeepSpares,
    Lost,
    Retire,
    SchedulerLost,
    TimedOut,
)
from appliance.rotation.scheduler_losses import SchedulerLosses
from appliance.rotation.state import State
from appliance.rotation.table import MAX_TAKEOVERS, step
from engine.allocation import SMAllocation
from engine.config import SLOTS
from tests.simulated.controller_lines import SimulatedLinks
from tests.simulated.invariants import demand
from tests.simulated.process import Process
from tests.simulated.scheduler_process import SchedulerProcess
from tests.simulated.simulated_worker import SimulatedWorker
from tests.simulated.world import World

READY_SECONDS = 20.0
CHANGE_SECONDS = 10.0
RETIRE_SECONDS = 60.0
LAST_STEP_SECONDS = 10.0
RESTART_SECONDS = 0.3
"""Until a scheduler's or a leader's new process is there."""


class SimulatedController(Process):
    """As `ProcessRotationManager` carries out what the table says; it starts schedulers and leaders as well."""

    def __init__(self, world: World, split: SMAllocation):
        super().__init__(world, "controller")
        self.state = State(keeps_warm=world.scenario.keeps_warm)
        self.links = SimulatedLinks(world, self, self._happen)
        self.losses = SchedulerLosses(self._start_next_scheduler, world.say, clock=lambda: world.clock.now)
        self._wanted: deque[Asked] = deque()
        for slot in SLOTS:
            self._follow_leader(slot)
        self._happen(Asked(split))
        self._start_scheduler()
        self.links.watch_groups()

    @property
    def may_lose_a_group(self) -> bool:
        """False where one more that never served might end the appliance, as it should."""
        late = sum(self.links.leader(slot).next_is_late for slot in SLOTS)
        return self.state.takeovers + late < MAX_TAKEOVERS - 1

    @property
    def may_lose_the_scheduler(self) -> bool:
        return not self.losses.refusal() and not self.losses.is_under_way and self.may_lose_a_group

    def want(self, split: SMAllocation, new_group: bool) -> None:
        """Somebody asks for a split."""
        self._wanted.append(Asked(split, new_group))
        self._start_next()

    # ── the table ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _happen(self, event: Event) -> None:
        self.world.say(f"the table hears {event}")
        self.state, actions = step(self.state, event)
        for action in actions:
            self._carry_out(action)
        self.losses.see(self.state)
        self._start_next()

    def _start_next(self) -> None:
        while self._wanted and self.state.can_rotate:
            wanted = self._wanted.popleft()
            if wanted.allocation != self.state.in_force or wanted.new_group:
                self._happen(wanted)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Finish():
                return
            case GiveUp(problem):
                demand(False, f"the controller gives up: {problem}")
            case Change(epoch, change):
                self.after(CHANGE_SECONDS, partial(self._happen, Changed(epoch, change, "It came too late.")))
            case Form(epoch):
                self.after(READY_SECONDS, partial(self._happen, TimedOut(epoch, READY_SECONDS)))
            case Retire(epoch):
                self.after(RETIRE_SECONDS, partial(self._if_there, Lost(epoch, "It did not end.")))
        self.links.do(action)

    def _if_there(self, late: Lost) -> None:
        if self.state.find(late.epoch) is not None:
            self._happen(late)

    # ── processes ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _start_scheduler(self) -> None:
        writers = [worker.name for worker in self._workers if worker.has_had_orders]
        demand(not writers, f"a scheduler begins while {' and '.join(writers)} may write")
        scheduler = self.world.scheduler = SchedulerProcess(self.world)
        scheduler.when_ended(self._scheduler_ended)
        self.world.scheduler_may_be_met()

    def _scheduler_ended(self) -> None:
        demand(not self.losses.refusal(), "too many schedulers were lost")
        self.links.forget_scheduler()
        self.losses.begin("The scheduler was killed.", self.state.latest_epoch)
        for group in self.state.groups:
            self.after(LAST_STEP_SECONDS, partial(self._if_there, Lost(group.epoch, "It did not end in time.")))
        self._happen(SchedulerLost("The scheduler was killed."))

    def _start_next_scheduler(self) -> None:
        self.world.say("another scheduler is started")
        self.after(RESTART_SECONDS, self._start_scheduler)
        self.links.begin_anew()

    def _follow_leader(self, slot: str) -> None:
        self.links.leader(slot).when_ended(partial(self._leader_ended, slot))

    def _leader_ended(self, slot: str) -> None:
        self.after(RESTART_SECONDS, partial(self._start_leader, slot))
        for group in [group for group in self.state.groups if group.slot == slot]:
            self._happen(Lost(group.epoch, "Its leader has ended."))
            gone = partial(self._happen, Gone(group.epoch, "Its leader has ended."))
            self._when_ended([worker for worker in self._workers if worker.epoch == group.epoch], gone)

    @property
    def _workers(self) -> list[SimulatedWorker]:
        """Those that have not ended, whoever their leader was."""
        return [one for one in self.world.processes.values() if isinstance(one, SimulatedWorker) and one.is_alive]

    def _when_ended(self, left: list[SimulatedWorker], act: Callable[[], None]) -> None:
        """As `Attention.when_ended`."""
        if not left:
            act()
        else:
            left[0].when_ended(lambda: self._when_ended(left[1:], act))

    def _start_leader(self, slot: str) -> None:
        self.links.line_to(slot).start_leader()
        self._follow_leader(slot)
        self.world.soon(partial(self._leader_is_there, slot))

    def _leader_is_there(self, slot: str) -> None:
        if self.state.active and self.state.free_slot == slot:
            self.links.do(KeepSpares(slot))
