"""The SLO targets and what else the policy goes by: kept with who set them, when and why."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec
from pydantic import ValidationError
from sqlalchemy import Connection, insert

from appliance.store import queries, schema
from appliance.store.queries import Row
from engine.config import ServerArgs, explain

_SETTINGS = {
    "ttft_ms": "ttft_target_ms",
    "tpot_ms": "tpot_target_ms",
    "window_seconds": "window_size_seconds",
    "cooldown_seconds": "adjustment_cooldown_seconds",
    "min_confidence": "min_confidence_threshold",
    "mode": "policy",
}
"""Names here → names in `ServerArgs`."""


class PolicySettings(msgspec.Struct, frozen=True):
    """`mode`: auto, hold or manual. Other units are in the names; `min_confidence` is from 0 to 1."""

    ttft_ms: float
    tpot_ms: float
    window_seconds: float
    cooldown_seconds: float
    min_confidence: float
    mode: str

    def changed(self, **changes: Any) -> PolicySettings:
        """Those that are None stay."""
        return msgspec.structs.replace(self, **{name: value for name, value in changes.items() if value is not None})

    def check(self) -> None:
        """Raises `ValueError` with a sentence for what cannot be; the bounds are those of the settings at a start."""
        try:
            ServerArgs(**{field: getattr(self, name) for name, field in _SETTINGS.items()})
        except ValidationError as error:
            raise ValueError(explain(error)) from None

    def __str__(self) -> str:
        return f"TTFT {self.ttft_ms:g} ms, TPOT {self.tpot_ms:g} ms, policy {self.mode}"


class Settled(NamedTuple):
    """`sentence` tells a person where the settings come from; `reason` is kept with them, "" if they are already."""

    settings: PolicySettings
    sentence: str
    reason: str


def settle(settings: ServerArgs, kept: Row | None, given: Collection[str]) -> Settled:
    """What holds at a start: what was asked for at this very start (`given`), or else what was set last."""
    asked = PolicySettings(**{name: getattr(settings, field) for name, field in _SETTINGS.items()})
    if kept is None:
        return Settled(asked, f"Targets: {asked}, as at every first start.", "The first start.")
    last = of_row(kept)
    chosen = last.changed(**{name: getattr(asked, name) for name, field in _SETTINGS.items() if field in given})
    if chosen != last:
        return Settled(chosen, f"Targets: {chosen}, given at this start instead of {last}.", "Given at the start.")
    when = time.strftime("%F %T", time.localtime(kept["set_at"]))
    return Settled(last, f"Targets: {last}, as set by {kept['set_by']} on {when}.", "")


def of_row(row: Row) -> PolicySettings:
    return PolicySettings(**{name: row[name] for name in _SETTINGS})


def applied(settings: ServerArgs, policy: PolicySettings) -> ServerArgs:
    """The settings with these in them."""
    return settings.model_copy(update={field: getattr(policy, name) for name, field in _SETTINGS.items()})


def on_command_line(settings: ServerArgs) -> set[str]:
    """The environment says what a machine starts with the first time; the command line is a wish of this moment."""
    return {field for field in _SETTINGS.values() if _is_on_command_line(settings, field)}


def keep(connection: Connection, settings: PolicySettings, set_by: str, reason: str, now: float) -> None:
    """From now on these hold."""
    values = msgspec.structs.asdict(settings)
    connection.execute(insert(schema.slo_targets).values(set_at=now, set_by=set_by, reason=reason, **values))


def kept(connection: Connection) -> Row | None:
    """Those that were set last."""
    return queries.target(connection)


def _is_on_command_line(settings: ServerArgs, field: str) -> bool:
    if field not in settings.model_fields_set:
        return False
    return os.environ.get(f"SEMI_PD_{field.upper()}") != str(getattr(settings, field))
