"""`semi-pd serve`: what the person at the terminal sees of the appliance in the foreground."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import threading
from concurrent.futures import Future
from typing import NamedTuple

from appliance.coordinator import SemiPDCoordinator, coordinator_of
from appliance.instance import Instance, Running, require_free_port
from appliance.keeping import keeping
from appliance.store.store import Store
from appliance.store.targets import on_command_line
from engine.config import Mode, PortArgs, ServerArgs
from engine.device.detect import detect_device
from engine.errors import CannotStart
from engine.process import allow_many_files

BANNER = """
{model} is served.

  REST endpoint  {url}/v1
  API key        {key}
  Console        {console}
  Logs           {logs}

Try it:

  curl {url}/v1/chat/completions \\
    -H 'Authorization: Bearer {key}' \\
    -H 'Content-Type: application/json' \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "What does os.path.join do?"}}]}}'

Ctrl-C drains and stops it.
"""


NO_FIRST_KEY = "the first one was revoked: use another, or make one with `semi-pd keys add`"

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop(NamedTuple):
    """A signal asked to end."""


class Failed(NamedTuple):
    """The engine cannot go on."""

    problem: str


Inbox = queue.SimpleQueue[Stop | Failed | Future[None]]


def serve_in_foreground(settings: ServerArgs) -> None:
    """Start, serve until Ctrl-C, stop. Raises `CannotStart` with one sentence; nothing is left running then."""
    settings = settings.for_device(detect_device(settings.device))
    allow_many_files()
    instance = Instance.of_user()
    instance.claim()
    try:
        require_free_port(settings.host, settings.port, "--port")
        if settings.console_port:
            require_free_port(settings.console_host, settings.console_port, "--console-port")
        say(f"Starting {settings.model_name} on the {describe(settings)}.")
        ports = PortArgs.init_new(settings)
        try:
            _serve(settings, ports, instance)
        finally:
            shutil.rmtree(ports.runtime_dir, ignore_errors=True)
    finally:
        instance.release()


def _serve(settings: ServerArgs, ports: PortArgs, instance: Instance) -> None:
    with keeping(instance, settings, ports, on_command_line(settings)) as kept:
        say(kept.sentence)
        _serve_with(kept.store, kept.settings, ports, instance, kept.api_key or NO_FIRST_KEY)


def _serve_with(store: Store, settings: ServerArgs, ports: PortArgs, instance: Instance, api_key: str) -> None:
    inbox: Inbox = queue.SimpleQueue()
    coordinator = coordinator_of(
        settings,
        ports,
        settings.allocation,
        log_dir=instance.log_dir,
        say=say,
        on_failure=lambda problem: inbox.put(Failed(problem)),
        console=bool(settings.console_port),
        store=store,
    )
    for sign in STOP_SIGNALS:
        signal.signal(sign, lambda *_: inbox.put(Stop()))
    coordinator.start_in_background().add_done_callback(inbox.put)
    url = endpoint_url(settings)
    try:
        if _serves(inbox):
            instance.announce(Running(os.getpid(), str(ports.runtime_dir), url))
            console = describe_console(settings, instance)
            say(BANNER.format(model=settings.model_name, url=url, key=api_key, console=console, logs=instance.log_dir))
            if isinstance(ended := inbox.get(), Failed):
                raise CannotStart(ended.problem)
            say("Draining. Ctrl-C again stops at once.")
    finally:
        _stop(coordinator, inbox)
    say("Stopped.")


def _serves(inbox: Inbox) -> bool:
    """Wait for the start; False if a signal came first. Raises `CannotStart`."""
    match inbox.get():
        case Future() as started:
            started.result()
            return True
        case _:
            return False


def _stop(coordinator: SemiPDCoordinator, inbox: Inbox) -> None:
    """Drain; another signal meanwhile ends everything at once."""
    stopping = threading.Thread(target=coordinator.stop)
    for sign in STOP_SIGNALS:
        signal.signal(sign, lambda *_: coordinator.kill())
    while not inbox.empty():
        if isinstance(inbox.get(), Stop):
            coordinator.kill()
    stopping.start()
    stopping.join()


def describe_console(settings: ServerArgs, instance: Instance) -> str:
    """Where the console is and, as long as nobody has claimed it, the one-time token that does."""
    if not settings.console_port:
        return "none"
    token = instance.setup_token()
    return f"{settings.console_url}, one-time token {token}" if token else settings.console_url


def endpoint_url(settings: ServerArgs) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{settings.url_scheme}://{host}:{settings.port}"


def describe(settings: ServerArgs) -> str:
    """The device and how the phases share it."""
    device = "GPU" if settings.device == "cuda" else "CPU"
    if settings.mode is Mode.COLOCATED:
        return f"{device}, one worker for both phases"
    shares = f"prefill {settings.prefill_sm_percentage} %, decode {settings.decode_sm_percentage} %"
    return f"{device}: {shares}, splitter {settings.splitter}"


def say(line: str) -> None:
    """One line on the terminal, at once."""
    print(line, flush=True)
