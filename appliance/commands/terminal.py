"""What all commands do alike: exit codes, one sentence for what went wrong, `--json` and `--log-level`."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import wraps
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.logging import RichHandler
from typer import Option

from appliance.control.client import ask
from appliance.control.messages import Command, Reply
from appliance.instance import Instance
from engine.config import explain
from engine.errors import CANNOT_START, SemiPDError

REFUSED = 1
NOT_RUNNING = 3
"""Exit code of commands that found no running appliance; the same as `systemctl status` has."""

T = TypeVar("T")

JSON = Annotated[bool, Option("--json", help="As JSON, for programs.")]


class LogLevel(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


def log_to_terminal(level: LogLevel | str) -> None:
    """What this process itself does, on standard error; what other processes do is in their logs."""
    handler = RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%T.%f")
    logging.basicConfig(level=str(level), format="%(message)s", handlers=[handler], force=True)


LOG_LEVEL = Annotated[LogLevel | None, Option(help="Tell on standard error what this command does.")]


def logged(command: Callable[..., T]) -> Callable[..., T]:
    """The same command with `--log-level` besides its own options."""

    @wraps(command)
    def run(*arguments: Any, log_level: LogLevel | None = None, **options: Any) -> T:
        if log_level is not None:
            log_to_terminal(log_level)
        return command(*arguments, **options)

    added = inspect.Parameter("log_level", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=LOG_LEVEL)
    parameters = [*inspect.signature(command, eval_str=True).parameters.values(), added]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


@contextmanager
def explained(exit_code: int = CANNOT_START) -> Iterator[None]:
    """What keeps a command from doing its work becomes one sentence and an exit code that says so."""
    try:
        yield
    except (ValidationError, SemiPDError) as error:
        typer.secho(explain(error) if isinstance(error, ValidationError) else str(error), err=True, fg="red")
        sys.exit(exit_code)


def asked(command: Command) -> Reply:
    """The running appliance's answer; where there is none, or it refuses, the command ends with a sentence."""
    with explained(NOT_RUNNING):
        reply = ask(Instance.of_user(), command)
    if not reply.done:
        typer.secho(reply.sentence, err=True, fg="red")
        sys.exit(REFUSED)
    return reply


def tell(command: Command) -> None:
    """Have something done, and say what was done."""
    with explained(NOT_RUNNING):
        reply = ask(Instance.of_user(), command)
    typer.echo(reply.sentence)
    sys.exit(0 if reply.done else REFUSED)
