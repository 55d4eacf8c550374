"""Runs the application under gunicorn: listening socket, worker processes, and the drain at the end."""

from __future__ import annotations

import os
import socket

from gunicorn.app.base import BaseApplication
from starlette.applications import Starlette
from uvicorn_worker import UvicornWorker

from engine.config import PortArgs, ServerArgs
from engine.errors import CannotStart
from engine.gateway.app import create_app
from engine.process import SUPERVISOR_VARIABLE, follow_supervisor

DRAIN_SECONDS = 30
"""How long streams in flight may go on after TERM; new connections are refused at once."""

_KILL_AFTER_SECONDS = DRAIN_SECONDS + 5
_KEEP_ALIVE_SECONDS = 65  # longer than common proxies keep theirs, so that they never write to a closed one
_BACKLOG = 2048


class GatewayWorker(UvicornWorker):
    """A worker that drains for a bounded time and does not outlive gunicorn's master."""

    CONFIG_KWARGS = {
        "loop": "auto",
        "http": "httptools",
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": DRAIN_SECONDS,
    }

    def init_process(self) -> None:
        os.environ[SUPERVISOR_VARIABLE] = str(self.ppid)
        follow_supervisor()
        super().init_process()


class GatewayServer(BaseApplication):
    """gunicorn without its command line: all it needs to know is in our settings."""

    def __init__(self, app: Starlette, settings: ServerArgs, listener: socket.socket):
        self._app = app
        self._options = {
            "bind": f"fd://{listener.detach()}",
            "workers": settings.gateway_workers,
            "worker_class": GatewayWorker,
            "graceful_timeout": _KILL_AFTER_SECONDS,
            "keepalive": _KEEP_ALIVE_SECONDS,
            "loglevel": settings.log_level.lower(),
            "control_socket_disable": True,
            "proc_name": "semi-pd-gateway",
        }
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Starlette:
        return self._app


def serve(ports: PortArgs) -> None:
    """Serve until TERM. Everything that can stop the start is tried here, before gunicorn retries what is in vain.

    Raises `CannotStart`.
    """
    settings = ports.read_settings()
    app = create_app(ports)
    GatewayServer(app, settings, _listen(settings.host, settings.port)).run()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error.strerror)
        raise CannotStart(f"The gateway cannot listen on {host} port {port}: {reason}.") from error
