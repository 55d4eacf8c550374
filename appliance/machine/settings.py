"""A machine's settings: `semi-pd.toml` and the files of `conf.d`, the later name winning. Reads, decides nothing."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.config import ServerArgs, explain
from engine.errors import CannotStart

MAIN_FILE = "semi-pd.toml"
DROP_INS = "conf.d"


def read_settings(etc: Path) -> ServerArgs:
    """The settings in the directory `etc`; what no file sets has its default. Raises `CannotStart`."""
    try:
        return ServerArgs(**given_settings(etc))
    except ValidationError as error:
        raise CannotStart(f"{explain(error)} It is set in {etc}.") from error


def given_settings(etc: Path) -> dict[str, Any]:
    """What the files set, word for word. Raises `CannotStart` for a file that cannot be read."""
    given: dict[str, Any] = {}
    for path in [etc / MAIN_FILE, *sorted((etc / DROP_INS).glob("*.toml"))]:
        given |= _read(path) if path.exists() else {}
    return given


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CannotStart(f"The settings in {path} are not TOML: {error}.") from error
    except OSError as error:
        raise CannotStart(f"The settings in {path} cannot be read: {error.strerror}.") from error
