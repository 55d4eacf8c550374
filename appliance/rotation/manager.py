"""Runs the engine and moves it from split to split. All that happens, happens in one thread, by the table."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from appliance.attention import Attention, Closed
from appliance.engine_processes import EngineProcesses
from appliance.profile.fitting import fitted
from appliance.rotation.attaching import Attaching
from appliance.rotation.description import describe
from appliance.rotation.events import Asked, Gone, KeepSpares, Lost, SchedulerLost
from appliance.rotation.finding import Found
from appliance.rotation.history import History, RotationRecord
from appliance.rotation.links import Links
from appliance.rotation.memory import GroupMemory, free_bytes_of
from appliance.rotation.prepared import prepared_beside
from appliance.rotation.restarts import Restarts
from appliance.rotation.rotations import Rotations
from appliance.rotation.scheduler_losses import SchedulerLosses
from appliance.rotation.shutdown import follow, shutdown_stages
from appliance.rotation.startup import Startup
from appliance.supervisor.local import Child
from engine.allocation import SMAllocation
from engine.config import PortArgs, ServerArgs, Standby
from engine.errors import CannotStart, SemiPDError
from engine.wire.to_controller import LoadReport, Status

LAST_STEP_SECONDS = 10.0
"""How long a group may take to end once its scheduler has: a step is all that is left to do."""
ANSWER_SECONDS = 3.0
"""How long the scheduler may take to say how it is; it answers between two messages."""


class ProcessRotationManager:
    """The engine as child processes of this one, and its split.

    `endpoint=False` leaves the REST endpoint out; `console=True` starts the console beside it. `say` takes a line for a
    person now and then; `on_failure` one when the engine has ended for good. Both are called in the manager's thread.

    `attached=True` is for processes that somebody else starts, in `port_args`: they are asked what there is, the split
    in force included, and go on when this manager stops.
    """

    def __init__(
        self,
        server_args: ServerArgs,
        port_args: PortArgs,
        initial_sm_allocation: SMAllocation,
        *,
        endpoint: bool = True,
        console: bool = False,
        attached: bool = False,
        log_dir: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
        on_failure: Callable[[str], None] = lambda line: None,
        on_record: Callable[[RotationRecord], None] = lambda record: None,
    ):
        self.settings, self.offer, self._notices = fitted(server_args, initial_sm_allocation, attached)
        self.ports = port_args
        self._attached = attached
        if not attached:
            port_args.write_settings(self.settings)
        self._initial = initial_sm_allocation
        self._endpoint = endpoint
        self._console = console
        self._say = say
        self._on_failure = on_failure
        self._log_dir = log_dir or port_args.runtime_dir / "log"
        self._log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._attention = Attention()
        self._processes = EngineProcesses(
            self.settings,
            port_args,
            self._log_dir,
            self._attention,
            self._fail,
            self._resident_ended,
            self._scheduler_ended,
            self._leader_ended,
            self._say,
        )
        self._links = Links(
            self.settings, port_args, self._attention, lambda event: self._happen(event), self._prepared_beside
        )
        self._losses = SchedulerLosses(self._start_next_scheduler, self._say)
        self._leader_restarts, self._resident_restarts = Restarts("leader"), Restarts("resident")
        self._memory = GroupMemory(self.settings, self._links.used_bytes, free_bytes_of(self.settings))
        keeps_warm = self.settings.standby is Standby.WARM
        self._attaching = Attaching(
            self._links, self._attention, initial_sm_allocation, keeps_warm, self._found, self._leader_came_or_went
        )
        self._history = History(on_record)
        self._rotations = Rotations(
            self.offer,
            self._links,
            self._attention,
            self._memory,
            self._history,
            in_place=self.settings.in_place,
            keeps_warm=keeps_warm,
            waits=attached,
            is_loading=lambda: self._processes.is_loading,
            on_state=self._losses.see,
            on_loss=self._processes.slot_lost_a_group,
            say=self._say,
            fail=self._fail,
        )
        self._happen = self._rotations.happen
        self._started: Future[None] = Future()
        self._stopped: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="rotation", daemon=True)

    # ── for callers, from any thread ────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Serve when this returns. Raises `CannotStart`; then nothing is left running."""
        try:
            self.start_in_background().result()
        except CannotStart:
            self.stop()
            raise

    def start_in_background(self) -> Future[None]:
        """Begin to start; the future tells when it serves."""
        self._thread.start()
        self._attention.call(self._begin)
        return self._started

    def request_sm_reallocation(
        self, sm_allocation: SMAllocation, *, reason: str = "", new_group: bool = False
    ) -> bool:
        """Move to another split. True once it is live; False, with the reason in the status, if it was not made.

        See `rotate`.
        """
        return not self.rotate(sm_allocation, reason=reason, new_group=new_group).problem

    def rotate(self, sm_allocation: SMAllocation, *, reason: str = "", new_group: bool = False) -> RotationRecord:
        """Move to another split and tell what came of it, once the split is live or was given up.

        A request made while another is under way waits for its turn. A split that the workers have prepared is taken in
        place, any other by a new group; the record says which. With `new_group` the processes are replaced even if the
        split is in force already.
        """
        return self._attention.call(partial(self._rotations.want, sm_allocation, reason, new_group)).result().result()

    @property
    def allocation_in_force(self) -> SMAllocation | None:
        """The split in force; None while no group serves."""
        is_own_thread = threading.current_thread() is self._thread
        try:
            state = (
                self._rotations.state if is_own_thread else self._attention.call(lambda: self._rotations.state).result()
            )
        except Closed:
            return None
        return state.in_force if state.active and not state.is_stopping else None

    def watch_load(self, seconds: float, on_report: Callable[[LoadReport], None]) -> None:
        """Have `on_report` told how far requests have come, every so many seconds; in the manager's thread.

        With it comes what streams saw of a rotation.
        """

        def hear(report: LoadReport) -> None:
            for told in report.hand_overs:
                self._history.handed_over(told)
            on_report(report)

        def ask() -> None:
            if not self._rotations.state.is_stopping:
                if self._started.done() and not self._losses.is_under_way:
                    self._links.ask_load(hear)
                self._attention.after(seconds, ask)

        self._attention.call(ask)

    @property
    def status(self) -> dict[str, Any]:
        """Groups with their processes, the split in force, requests, pages and rotations, as plain data."""
        asked = self._attention.call(self._ask_scheduler).result()
        try:
            scheduler = asked.result(ANSWER_SECONDS)
        except TimeoutError:
            scheduler = None
        leaders = {f"leader-{slot}": pid for slot, pid in self._attaching.leader_pids.items()}
        processes = leaders | {name: child.pid for name, child in self._processes.children.items()}
        return self._attention.call(
            lambda: (
                describe(
                    self.settings,
                    self._rotations.state,
                    self._links.pids,
                    self._links.spares,
                    processes,
                    scheduler,
                    self._history,
                )
                | {"memory": self._memory.describe(), "scheduler_losses": self._losses.described}
            )
        ).result()

    def aim(self, ttft_target_ms: float, tpot_target_ms: float) -> None:
        """Prompts are computed in such an order, and so many at once, that few tokens come later than this."""
        self._attention.call(lambda: self._links.aim(ttft_target_ms / 1000, tpot_target_ms / 1000))

    def free_cached_pages(self) -> int:
        """Free the KV pages that no request holds and that are kept for prompts that begin alike; how many those were.

        Raises `SemiPDError` where the scheduler does not answer.
        """
        freed: Future[int] = Future()
        self._attention.call(lambda: self._links.free_cached_pages(freed.set_result)).result()
        try:
            return freed.result(ANSWER_SECONDS)
        except TimeoutError:
            raise SemiPDError(f"The scheduler did not answer in {ANSWER_SECONDS:g} s.") from None

    def stop(self) -> None:
        """Drain, and end every process. May be called again."""
        if self._thread.is_alive() and not self._stopped.done():
            self._attention.call(self._begin_stop)
            self._stopped.result()
        if self._thread.is_alive():
            self._thread.join()

    def kill(self) -> None:
        """End every process at once; for use while `stop` waits."""
        self._attention.call(self._end)

    def __enter__(self) -> ProcessRotationManager:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ── start ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while not self._stopped.done():
            try:
                self._attention.turn()
            except Exception as error:  # whatever it is, nobody is left to handle it, and no process may stay behind
                self._fail(f"The controller failed: {error!r}.")
                self._end()
        self._attention.close()

    def _begin(self) -> None:
        for notice in self._notices:
            self._say(notice)
        if self._attached:
            self._attaching.begin()
            return
        try:
            self._processes.start_resident()
            self._processes.start_leaders()
            if self._console:
                self._processes.start_console()
        except SemiPDError as error:
            self._fail(str(error))
            return
        self._happen(Asked(self._initial))
        self._follow_startup(self._weights_are_loaded, self._endpoint)

    def _follow_startup(self, weights_are_loaded: Callable[[], None], endpoint: bool) -> None:
        startup = Startup(
            self._processes,
            self._attention,
            self._say,
            is_active=lambda: self._rotations.state.active is not None,
            is_over=lambda: self._started.done() or self._rotations.state.is_stopping,
        )
        startup.follow(weights_are_loaded, endpoint, lambda: self._started.set_result(None))

    def _found(self, found: Found) -> None:
        """Go on where another controller stopped, with what has happened since the question."""
        self._rotations.begin_with(found)
        if self._rotations.state.active is None and self._rotations.state.can_rotate:
            self._happen(Asked(self._initial))
        self._follow_startup(lambda: None, endpoint=False)

    def _leader_came_or_went(self, slot: str, is_there: bool) -> None:
        """Whoever started the leader starts it again; its groups end with it, and are gone when their processes are."""
        if is_there:
            if self._rotations.state.active and self._rotations.state.free_slot == slot:
                self._links.do(KeepSpares(slot))
            return
        for group in [group for group in self._rotations.state.groups if group.slot == slot]:
            problem = f"The leader of slot {slot} has ended."
            gone = partial(self._happen, Gone(group.epoch, problem))
            workers = self._links.pids.get(group.epoch, ())
            self._happen(Lost(group.epoch, problem))  # the other slot takes over before this one is free again
            self._attention.when_ended(workers, gone)

    def _weights_are_loaded(self) -> None:
        self._processes.start_scheduler()
        if self._endpoint:
            self._processes.start_gateway()
        self._links.watch_groups()

    def _scheduler_ended(self, scheduler: Child) -> None:
        """Gateways keep what was accepted and hand it in to the next one, which starts when the old groups are gone."""
        refusal = self._losses.refusal()
        if refusal or not self._started.done():
            self._fail(f"{scheduler.obituary}\n{refusal}".rstrip())
            return
        self._say(scheduler.obituary)
        self._links.forget_scheduler()
        self._losses.begin(scheduler.end, self._rotations.state.latest_epoch)
        for group in self._rotations.state.groups:
            late = Lost(group.epoch, f"The group of epoch {group.epoch} did not end with its scheduler.")
            self._attention.after(LAST_STEP_SECONDS, partial(self._rotations.if_there, late))
        self._happen(SchedulerLost(scheduler.end))

    def _leader_ended(self, slot: str, leader: Child) -> None:
        """Its workers end with it; the other slot takes over, and another leader keeps spares in this one."""
        refusal = self._leader_restarts.refusal()
        if refusal or not self._started.done():
            self._fail(f"{leader.obituary}\n{refusal}".rstrip())
            return
        self._say(leader.obituary)
        self._leader_restarts.note()
        leader.kill()  # what it started is in its process group
        self._links.forget_leader(slot)
        self._processes.start_leader(slot)
        self._leader_came_or_went(slot, False)
        self._leader_came_or_went(slot, True)

    def _resident_ended(self, resident: Child) -> None:
        """A cold start, of all that mapped its memory: the scheduler ends too, and gateways keep what was accepted."""
        refusal = self._resident_restarts.refusal()
        if refusal or not self._started.done():
            self._fail(f"{resident.obituary}\n{refusal}".rstrip())
            return
        self._say(resident.obituary)
        self._resident_restarts.note()
        self._processes.kill("scheduler")

    def _start_next_scheduler(self) -> None:
        """And first another resident, where the last has ended: nobody has its memory mapped any more."""
        if self._processes.is_gone("resident"):
            self._processes.start_resident()
        self._processes.start_scheduler()
        self._links.begin_anew()

    def _fail(self, problem: str) -> None:
        """The engine cannot start, or cannot go on."""
        if self._rotations.state.is_stopping:
            return
        if not self._started.done():
            self._started.set_exception(CannotStart(problem))
        else:
            self._on_failure(problem)

    def _prepared_beside(self, split: SMAllocation) -> tuple[SMAllocation, ...]:
        return prepared_beside(split, self.offer.ladder) if self.settings.in_place else ()

    # ── status and end ──────────────────────────────────────────────────────────────────────────────────────────────

    def _ask_scheduler(self) -> Future[Status]:
        answer: Future[Status] = Future()
        self._links.ask_status(answer.set_result)
        return answer

    def _begin_stop(self) -> None:
        if self._attached:
            self._end()
            return
        stages = shutdown_stages(self._processes, self._links, self._happen, lambda: bool(self._rotations.state.groups))
        follow(stages, self._attention, self._end)

    def _end(self) -> None:
        if self._stopped.done():
            return
        self._rotations.end()
        self._processes.expect_ends()
        self._processes.end_all()
        self._attaching.close()
        self._links.close()
        has_started = self._started.done() and self._started.exception() is None
        if not self._attached and has_started:  # after a failed start its logs are wanted
            shutil.rmtree(self.ports.runtime_dir, ignore_errors=True)
        if not self._started.done():
            self._started.set_exception(CannotStart("The appliance was stopped before it served."))
        self._stopped.set_result(None)
