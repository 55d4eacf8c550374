"""Runs the application under gunicorn: listening socket, worker processes, and the drain at the end."""

from __future__ import annotations

import logging
import os
import socket
from ssl import SSLContext

from gunicorn.app.base import BaseApplication
from starlette.applications import Starlette
from uvicorn_worker import UvicornWorker

from engine.config import PortArgs, ServerArgs
from engine.errors import CannotStart
from engine.gateway.app import create_app
from engine.gateway.connection import Bounds, bounded
from engine.gateway.tally import forget_former
from engine.gateway.tls import tls_context
from engine.json_lines import log_as_json
from engine.process import SUPERVISOR_VARIABLE, allow_many_files, follow_supervisor
from engine.server_log import ServerLog
from engine.systemd import take_listener

log = logging.getLogger(__name__)

DRAIN_SECONDS = 30
"""How long streams in flight may go on after TERM; new connections are refused at once."""

SEND_BUFFER_BYTES = 128 * 1024
"""The kernel's part of what a client may leave unread; uvloop keeps as much again. Left to itself, it grows to MiB."""

_UNREAD_SECONDS = 90
"""How long the kernel keeps what nobody takes, also after the gateway has closed its end."""

_KILL_AFTER_SECONDS = DRAIN_SECONDS + 5
_KEEP_ALIVE_SECONDS = 65  # longer than common proxies keep theirs, so that they never write to a closed one
_AT_EACH_LOOK = -(10**12)
"""uvicorn tells gunicorn's master that a worker is well when so many seconds have passed by the wall clock, at which it
looks once a second. Had that been set back, it would not, and the master would kill the worker with all its streams."""

_BACKLOG = 2048
_FILES_BESIDE = 128
"""What a worker opens beside connections, and as many again."""


class GatewayServer(BaseApplication):
    """gunicorn without its command line: all it needs to know is in our settings."""

    def __init__(
        self, app: Starlette, settings: ServerArgs, bounds: Bounds, listener: socket.socket, tls: SSLContext | None
    ):
        self.bounds = bounds
        self.tls = tls
        self._app = app
        self._options = {
            "bind": f"fd://{listener.detach()}",
            "workers": settings.gateway_workers,
            "worker_class": GatewayWorker,
            "graceful_timeout": _KILL_AFTER_SECONDS,
            "keepalive": _KEEP_ALIVE_SECONDS,
            "loglevel": settings.log_level.lower(),
            "logger_class": ServerLog,
            "control_socket_disable": True,
            "proc_name": "semi-pd-gateway",
        }
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Starlette:
        return self._app


class GatewayWorker(UvicornWorker):
    """A worker that bounds its connections, drains for a bounded time and does not outlive gunicorn's master."""

    CONFIG_KWARGS = {
        "loop": "engine.gateway.event_loop:GatewayLoop",
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": DRAIN_SECONDS,
        "timeout_notify": _AT_EACH_LOOK,
    }

    def init_process(self) -> None:
        os.environ[SUPERVISOR_VARIABLE] = str(self.ppid)
        follow_supervisor()
        server = self.app
        assert isinstance(server, GatewayServer)
        self.config.http = bounded(server.bounds)
        if (tls := server.tls) is not None:
            self.config.ssl_context_factory = lambda config, default_factory: tls
        super().init_process()


def serve(ports: PortArgs) -> None:
    """Serve until TERM. Everything that can stop the start is tried here, before gunicorn retries what is in vain.

    Raises `CannotStart`.
    """
    settings = ports.read_settings()
    log_as_json("gateway", settings.log_level)
    app = create_app(ports)
    tls = tls_context(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
    forget_former(ports.metrics_dir)
    bounds = bounds_of(settings, allow_many_files())
    if bounds.max_connections < settings.max_connections:
        log.warning(
            "Open files are enough for %s connections at once, not for max_connections.", bounds.max_connections
        )
    GatewayServer(app, settings, bounds, _listen(settings), tls).run()


def bounds_of(settings: ServerArgs, files: int) -> Bounds:
    """What one connection, and all together, may take of a worker that may open so many files.

    Connections never take the last, or the file of keys could not be read; where too many come, twice as many are open.
    """
    connections = max(1, min(settings.max_connections, (files - _FILES_BESIDE) // 2))
    return Bounds(connections, settings.header_timeout_seconds, settings.slow_reader_seconds)


def _listen(settings: ServerArgs) -> socket.socket:
    """What is set here holds for every connection that is accepted."""
    listener = _inherited(settings) or _bind(settings)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES // 2)  # doubled by the kernel
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_SECONDS * 1000)
    return listener


def _inherited(settings: ServerArgs) -> socket.socket | None:
    """systemd's socket, which stays open while gateways come and go; it must be the one the settings speak of."""
    listener = take_listener()
    if listener is None:
        return None
    host, port = listener.getsockname()[:2]
    if (host, port) != (settings.host, settings.port):
        raise CannotStart(
            f"The gateway's socket listens on {host} port {port}, and the settings say {settings.host} port "
            f"{settings.port}: run install.sh again, which makes the socket as the settings say."
        )
    return listener


def _bind(settings: ServerArgs) -> socket.socket:
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error.strerror)
        raise CannotStart(f"The gateway cannot listen on {host} port {port}: {reason}.") from error
