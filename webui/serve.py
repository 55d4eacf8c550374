"""Runs the console under gunicorn: one process, which alone writes `console.db`, with a thread for each request."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from types import FrameType
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from gunicorn.workers.gthread import ThreadWorker

from appliance.instance import Instance
from engine.config import PortArgs, ServerArgs
from engine.errors import CannotStart
from engine.json_lines import log_as_json
from engine.process import SUPERVISOR_VARIABLE, follow_supervisor
from engine.server_log import ServerLog
from engine.systemd import take_listener
from webui.app import create_app
from webui.config import ConsoleConfig
from webui.services import NAME, Services

THREADS = 64
"""A stream holds one as long as a page is open: see `feed.MOST_WATCHERS`."""
DRAIN_SECONDS = 3
KEEP_ALIVE_SECONDS = 30


class ConsoleServer(BaseApplication):
    """gunicorn without its command line. The app is made in the worker: threads do not survive a fork."""

    def __init__(self, config: ConsoleConfig, listener: socket.socket):
        self._config = config
        settings = config.settings
        self._options: dict[str, Any] = {
            "bind": f"fd://{listener.detach()}",
            "workers": 1,
            "worker_class": ConsoleWorker,
            "threads": THREADS,
            "graceful_timeout": DRAIN_SECONDS,
            "keepalive": KEEP_ALIVE_SECONDS,
            "loglevel": settings.log_level.lower(),
            "logger_class": ServerLog,
            "control_socket_disable": True,
            "forwarded_allow_ips": "",  # whom to believe about who asks is console_proxies' to say, see `webui.app`
            "proc_name": "semi-pd-console",
        }
        if settings.tls_cert is not None:
            self._options |= {"certfile": str(settings.tls_cert), "keyfile": str(settings.tls_key or settings.tls_cert)}
            self._options["ssl_context"] = _modern
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return create_app(self._config)


class ConsoleWorker(ThreadWorker):
    """Ends streams at once when it is asked to end, and does not outlive gunicorn's master."""

    def init_process(self) -> None:
        os.environ[SUPERVISOR_VARIABLE] = str(self.ppid)
        follow_supervisor()
        super().init_process()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        app: Any = self.wsgi
        services: Services = app.extensions[NAME]
        services.feed.end_streams()
        super().handle_exit(sig, frame)


def serve(ports: PortArgs) -> None:
    """Serve until TERM. Raises `CannotStart`."""
    config = ConsoleConfig.of_appliance(ports, Instance.of_user())
    log_as_json("console", config.settings.log_level)
    services = Services.of(config)  # what can keep it from starting is tried here, before gunicorn retries in vain
    if not services.users.is_claimed and services.setup_token.value is None:
        services.setup_token.renew()
    services.close()
    ConsoleServer(config, _listen(config.settings)).run()


def _modern(config: Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _listen(settings: ServerArgs) -> socket.socket:
    """systemd's socket, or one of our own."""
    if (inherited := take_listener()) is not None:
        return inherited
    host, port = settings.console_host, settings.console_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise CannotStart(f"The console cannot listen on {host} port {port}: {reason}.") from error
