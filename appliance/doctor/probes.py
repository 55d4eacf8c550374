"""Asks each process for a sign of life, and takes the time. Changes nothing: what is asked has no effect."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ssl import create_default_context

import zmq
from zmq.utils.monitor import recv_monitor_message

from appliance.doctor.observations import Answer
from engine.config import SLOTS, PortArgs, ServerArgs
from engine.wire import to_controller, to_scheduler

BOUND_SECONDS = 2.0


class Silent(Exception):
    """No answer; the message says what was waited for."""


def probe_all(ports: PortArgs, settings: ServerArgs) -> list[Answer]:
    """Scheduler and endpoint answer a question; of the others the sockets are tried: they hear only their own peers."""
    return [
        answered("scheduler", lambda: ask_scheduler(ports.control_address)),
        answered("scheduler's socket for gateways", lambda: shake_hands(ports.gateway_address)),
        answered("scheduler's socket for workers", lambda: shake_hands(ports.worker_address)),
        *(answered(f"leader of slot {slot}", partial(shake_hands, ports.leader_address(slot))) for slot in SLOTS),
        answered("resident", lambda: connect_to(ports.resident_path)),
        answered("REST endpoint", lambda: ask_endpoint(settings)),
    ]


def answered(peer: str, ask: Callable[[], None]) -> Answer:
    """How long `ask` took, or why it failed."""
    began = time.monotonic()
    try:
        ask()
    except (OSError, Silent, HTTPException) as error:
        return Answer(peer, None, f"{error}." if str(error)[-1:] != "." else str(error))
    return Answer(peer, 1000 * (time.monotonic() - began))


def ask_scheduler(address: str) -> None:
    """A status goes to whoever asks."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as asker:
        asker.set(zmq.LINGER, 0)
        asker.connect(address)
        asker.send(to_scheduler.FROM_CONTROLLER.encode(to_scheduler.AskStatus()))
        if not asker.poll(int(BOUND_SECONDS * 1000)):
            raise Silent(f"nothing came within {BOUND_SECONDS:g} s")
        to_controller.FROM_SCHEDULER.decode(asker.recv())


def shake_hands(address: str) -> None:
    """Connect as a peer would, and say nothing."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as caller:
        caller.set(zmq.LINGER, 0)
        with caller.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
            caller.connect(address)
            if not monitor.poll(int(BOUND_SECONDS * 1000)):
                raise Silent(f"no connection within {BOUND_SECONDS:g} s")
            recv_monitor_message(monitor)
            caller.disable_monitor()


def connect_to(path: str) -> None:
    """To a plain Unix socket, whose owner says the first word."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(BOUND_SECONDS)
        caller.connect(path)
        if not caller.recv(4):
            raise Silent("it hung up")


def ask_endpoint(settings: ServerArgs) -> None:
    """Whether a client would be served."""
    connection = _connection(settings)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != HTTPStatus.OK:
        raise Silent(f"/health answered {status}")


def _connection(settings: ServerArgs) -> HTTPConnection:
    if settings.tls_cert is None:
        return HTTPConnection(settings.host, settings.port, timeout=BOUND_SECONDS)
    unverified = create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, 0  # type: ignore[assignment]
    return HTTPSConnection(settings.host, settings.port, timeout=BOUND_SECONDS, context=unverified)
