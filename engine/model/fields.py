"""The fields of a model's JSON files, checked one by one. Knows nothing of what they mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import CannotStart


class Fields:
    """The fields of one JSON file; each complaint names the file, the field, its value and what would be right."""

    def __init__(self, path: Path, values: dict[str, Any] | None = None):
        self.path = path
        self._values = _read_object(path) if values is None else values

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name, default)

    def problem(self, name: str, value: Any, right: str) -> CannotStart:
        return CannotStart(f"In {self.path}, {name} is {value!r}: it must be {right}.")

    def check_only(self, name: str, supported: Any) -> None:
        """Complain of any value but the one that is supported, which holds too where there is none."""
        value = self.get(name)
        if value is not None and value != supported:
            right = "absent" if supported is None else repr(supported)
            raise self.problem(name, value, f"{right}, nothing else is supported yet")

    def flag(self, name: str) -> bool:
        """True or false; false where the field is absent or null."""
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.problem(name, value, "true or false")
        return bool(value)

    def count(self, name: str, default: int | None = None) -> int:
        """A whole number of at least 1; null counts as missing."""
        value = self._present(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.problem(name, value, "a whole number of at least 1")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A number above 0."""
        value = self._present(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise self.problem(name, value, "a number above 0")
        return float(value)

    def within(self, name: str) -> Fields | None:
        """The fields of an object inside this file; None where it is absent or null."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.problem(name, value, "an object")
        return Fields(self.path, value)

    def _present(self, name: str, default: float | None) -> Any:
        value = self.get(name)
        value = default if value is None else value
        if value is None:
            raise CannotStart(f"{self.path} has no {name}: it must be in the config of every model served here.")
        return value


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CannotStart(f"There is no {path}: a Hugging Face model directory with one is needed.") from error
    except (OSError, ValueError) as error:
        raise CannotStart(f"{path} cannot be read as JSON ({error}): download it again.") from error
    if not isinstance(values, dict):
        raise CannotStart(f"{path} holds no JSON object: download it again.")
    return values
