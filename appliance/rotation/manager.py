"""Runs the engine and moves it from split to split. All that happens, happens in one thread, by the table."""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from appliance.attention import Attention, Closed
from appliance.engine_processes import EngineProcesses
from appliance.rotation.description import describe
from appliance.rotation.history import History, RotationRecord
from appliance.rotation.links import Links
from appliance.rotation.shutdown import shutdown_stages
from appliance.rotation.startup import LOOK_SECONDS, Startup
from appliance.rotation.table import (
    Asked,
    Event,
    Finish,
    Form,
    GiveUp,
    Lost,
    Retire,
    State,
    TimedOut,
    step,
)
from engine.allocation import SMAllocation
from engine.config import PortArgs, ServerArgs
from engine.device.detect import detect_device
from engine.errors import CannotStart, SemiPDError
from engine.wire.to_controller import LoadReport, Status

READY_SECONDS = 60.0
"""How long a group may take to be ready."""
FIRST_READY_SECONDS = 1800.0
"""The first one: a large checkpoint is loaded, and kernels may have to be built."""
RETIRE_SECONDS = 60.0
"""How long a group may take to drain before it is killed; it has nothing to do any more."""
ANSWER_SECONDS = 3.0
"""How long the scheduler may take to say how it is; it answers between two messages."""


@dataclass(slots=True)
class Wanted:
    """A rotation that waits for its turn, and whoever waits for it."""

    record: RotationRecord
    new_group: bool
    result: Future[RotationRecord] = field(default_factory=Future)


class ProcessRotationManager:
    """The engine as child processes of this one, and its split.

    `endpoint=False` leaves the REST endpoint out. `say` takes a line for a person now and then; `on_failure` one when
    the engine has ended for good. Both are called in the manager's thread.
    """

    def __init__(
        self,
        server_args: ServerArgs,
        port_args: PortArgs,
        initial_sm_allocation: SMAllocation,
        *,
        endpoint: bool = True,
        log_dir: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
        on_failure: Callable[[str], None] = lambda line: None,
    ):
        self.settings = server_args.for_device(detect_device(server_args.device))
        self.ports = port_args
        port_args.write_settings(self.settings)
        self._initial = initial_sm_allocation
        self._endpoint = endpoint
        self._say = say
        self._on_failure = on_failure
        self._log_dir = log_dir or port_args.runtime_dir / "log"
        self._log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._attention = Attention()
        self._processes = EngineProcesses(self.settings, port_args, self._log_dir, self._attention, self._fail)
        self._links = Links(self.settings, port_args, self._attention, self._happen)
        self._state = State()
        self._history = History()
        self._waiting: deque[Wanted] = deque()
        self._current: Wanted | None = None
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

        A request made while another is under way waits for its turn. With `new_group` the processes are replaced even
        if the split is in force already.
        """
        return self._attention.call(partial(self._want, sm_allocation, reason, new_group)).result().result()

    @property
    def allocation_in_force(self) -> SMAllocation | None:
        """The split in force; None while no group serves."""
        try:
            state = self._attention.call(lambda: self._state).result()
        except Closed:
            return None
        return state.in_force if state.active and not state.is_stopping else None

    def watch_load(self, seconds: float, on_report: Callable[[LoadReport], None]) -> None:
        """Have `on_report` told how far requests have come, every so many seconds; in the manager's thread."""

        def ask() -> None:
            if not self._state.is_stopping:
                if self._started.done():
                    self._links.ask_load(on_report)
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
        processes = {name: child.pid for name, child in self._processes.children.items()}
        return self._attention.call(
            lambda: describe(self.settings, self._state, self._links.pids, processes, scheduler, self._history)
        ).result()

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
        try:
            self._processes.start_resident()
            self._processes.start_leaders()
        except SemiPDError as error:
            self._fail(str(error))
            return
        self._happen(Asked(self._initial))
        startup = Startup(
            self._processes,
            self._attention,
            self._say,
            is_active=lambda: self._state.active is not None,
            is_over=lambda: self._started.done() or self._state.is_stopping,
        )
        startup.follow(self._weights_are_loaded, self._endpoint, lambda: self._started.set_result(None))

    def _weights_are_loaded(self) -> None:
        self._processes.start_scheduler()
        if self._endpoint:
            self._processes.start_gateway()
        self._links.watch_groups()

    def _fail(self, problem: str) -> None:
        """The engine cannot start, or cannot go on."""
        if self._state.is_stopping:
            return
        if not self._started.done():
            self._started.set_exception(CannotStart(problem))
        else:
            self._on_failure(problem)

    # ── rotation ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _want(self, allocation: SMAllocation, reason: str, new_group: bool) -> Future[RotationRecord]:
        wanted = Wanted(self._history.begin(allocation, reason), new_group)
        self._waiting.append(wanted)
        self._start_next()
        return wanted.result

    def _start_next(self) -> None:
        """Begin the rotation that waits longest, once nothing else is under way."""
        while self._waiting and self._current is None and (self._state.can_rotate or self._state.is_stopping):
            wanted = self._waiting.popleft()
            if self._state.is_stopping:
                self._conclude(wanted, "The appliance stops.")
            elif wanted.record.asked == self._state.in_force and not wanted.new_group:
                self._conclude(wanted, "")
            else:
                self._current = wanted
                self._happen(Asked(wanted.record.asked))
                wanted.record.epoch = self._state.rotating_to

    def _happen(self, event: Event) -> None:
        """Let the table decide, carry it out, and see who is next."""
        self._history.note(event)
        if (problem := getattr(event, "problem", "")) and not self._state.is_stopping:
            self._say(problem)
        self._state, actions = step(self._state, event)
        for action in actions:
            match action:
                case Finish(_, problem):
                    self._finish(problem)
                case GiveUp(problem):
                    self._fail(f"The workers cannot be kept running. {problem}")
                case Form(epoch):
                    self._links.do(action)
                    seconds = FIRST_READY_SECONDS if epoch == 1 else READY_SECONDS
                    self._attention.after(seconds, partial(self._happen, TimedOut(epoch, seconds)))
                case Retire(epoch):
                    self._links.do(action)
                    late = Lost(epoch, f"The group of epoch {epoch} did not end within {RETIRE_SECONDS:g} s.")
                    self._attention.after(RETIRE_SECONDS, partial(self._happen, late))
                case _:
                    self._links.do(action)
        self._start_next()

    def _finish(self, problem: str) -> None:
        wanted, self._current = self._current, None
        if wanted is not None:
            self._conclude(wanted, problem)
        elif problem:
            self._fail(f"The workers cannot be started. {problem}")

    def _conclude(self, wanted: Wanted, problem: str) -> None:
        wanted.record.problem = problem
        if not problem and wanted.record.live_seconds is None:
            wanted.record.live_seconds = time.time() - wanted.record.asked_at
        wanted.result.set_result(wanted.record)

    # ── status and end ──────────────────────────────────────────────────────────────────────────────────────────────

    def _ask_scheduler(self) -> Future[Status]:
        answer: Future[Status] = Future()
        self._links.ask_status(answer.set_result)
        return answer

    def _begin_stop(self) -> None:
        stages = shutdown_stages(self._processes, self._links, self._happen, lambda: bool(self._state.groups))
        self._next_stage(list(stages))

    def _next_stage(self, stages: list) -> None:
        if self._stopped.done():
            return
        if not stages:
            self._end()
            return
        stage, *rest = stages
        stage.act()
        deadline = time.monotonic() + stage.seconds

        def look() -> None:
            if stage.is_done() or time.monotonic() > deadline:
                self._next_stage(rest)
            else:
                self._attention.after(LOOK_SECONDS, look)

        look()

    def _end(self) -> None:
        if self._stopped.done():
            return
        self._state = replace(self._state, is_stopping=True)
        self._finish("The appliance stops.")
        self._start_next()
        self._processes.expect_ends()
        self._processes.end_all()
        self._links.close()
        if self._started.done() and self._started.exception() is None:  # after a failed start its logs are wanted
            shutil.rmtree(self.ports.runtime_dir, ignore_errors=True)
        if not self._started.done():
            self._started.set_exception(CannotStart("The appliance was stopped before it served."))
        self._stopped.set_result(None)
