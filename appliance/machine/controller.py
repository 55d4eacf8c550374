"""`python -m appliance.machine.controller RUNTIME_DIR`: the controller of processes that systemd starts.

It may be stopped and started again at any time: requests are served meanwhile, and it finds the split in force.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
from concurrent.futures import Future
from pathlib import Path

from appliance.coordinator import SemiPDCoordinator, coordinator_of
from appliance.instance import Instance, Running
from appliance.keeping import Kept, keeping
from appliance.machine.last_split import LastSplit
from appliance.serve import endpoint_url
from appliance.supervisor.systemd import Units
from engine.config import PortArgs
from engine.process import run, set_up_logging
from engine.systemd import Watchdog, notify

LOOK_SECONDS = 2.0
"""How often the split in force is looked at. Whoever answers is the thread of rotations, so the watchdog goes by it."""

Ended = Future[None] | str | None
"""The start is over, the engine has failed and why, or somebody asked for the end."""


def main() -> None:
    ports = PortArgs(Path(sys.argv[1]))
    settings = ports.read_settings()
    log = set_up_logging("controller", settings.log_level)
    inbox: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    signal.signal(signal.SIGTERM, lambda *_: inbox.put(None))
    instance = Instance.of_user()
    instance.claim()
    with keeping(instance, settings, ports) as kept:
        log.info(kept.sentence)
        coordinator = attached_coordinator(kept, ports, instance, inbox, log)
        coordinator.start_in_background().add_done_callback(inbox.put)
        try:
            problem = control(coordinator, inbox, Running(os.getpid(), str(ports.runtime_dir), endpoint_url(settings)))
        finally:
            notify("STOPPING=1")
            coordinator.stop()
    if problem:
        sys.exit(problem)


def attached_coordinator(
    kept: Kept, ports: PortArgs, instance: Instance, inbox: queue.SimpleQueue[Ended], log
) -> SemiPDCoordinator:
    settings = kept.settings
    initial = LastSplit(ports.runtime_dir).read() or settings.allocation
    return coordinator_of(
        settings,
        ports,
        initial,
        attached=True,
        log_dir=instance.log_dir,
        say=lambda line: log.info(line.strip()),
        on_failure=inbox.put,
        store=kept.store,
        units=Units(),
    )


def control(coordinator: SemiPDCoordinator, inbox: queue.SimpleQueue[Ended], running: Running) -> str | None:
    """Until somebody asks for the end, or the engine has ended for good: then a sentence that says why."""
    match inbox.get():
        case Future() as started:
            started.result()
        case other:
            return other
    Instance.of_user().announce(running)
    notify("READY=1")
    watchdog = Watchdog()
    last_split = LastSplit(Path(running.runtime_dir))
    while True:
        in_force = coordinator.rotation_manager.allocation_in_force
        last_split.keep(in_force)
        notify(f"STATUS=Split in force: {in_force or 'none'}.")
        watchdog.feed()
        try:
            ended = inbox.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            continue
        assert not isinstance(ended, Future), "the start was over before"
        return ended


if __name__ == "__main__":
    run(main)
