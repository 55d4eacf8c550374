"""How every process behaves: it follows its supervisor, leaves Ctrl-C to it, and says why it cannot start."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from engine.errors import CANNOT_START, CannotStart
from engine.json_lines import log_as_json, priority

_PR_SET_PDEATHSIG = 1
_JSON = structlog.processors.JSONRenderer()


SUPERVISOR_VARIABLE = "SEMI_PD_SUPERVISOR_PID"
"""Set by a supervisor that has no other way to take its children with it when it is killed; systemd needs none."""


def follow_supervisor() -> None:
    """Where the supervisor asked for it: be sent TERM when it ends, and exit at once if it has ended already."""
    supervisor = os.environ.get(SUPERVISOR_VARIABLE)
    if supervisor is None:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(supervisor):
        sys.exit("The supervisor has ended.")


def allow_many_files() -> int:
    """Raise this process' limit of open files, and that of those it starts, as far as it may; what it is then.

    Shells allow few. ZeroMQ ends its process where none is left for a connection that comes.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def set_up_logging(name: str, level: str) -> structlog.stdlib.BoundLogger:
    """One JSON line an event on standard error, with the process's name in it; the standard library's loggers, too."""
    log_as_json(name, level)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _as_line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    return structlog.get_logger(process=name, pid=os.getpid())


def _as_line(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    return priority(event["level"]) + str(_JSON(logger, method, event))


def run(main: Callable[[], None]) -> None:
    """Run a process's main function: Ctrl-C is the supervisor's, `CannotStart` becomes a sentence and its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        main()
    except CannotStart as error:
        print(error, file=sys.stderr)
        sys.exit(CANNOT_START)
