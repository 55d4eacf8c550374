"""The whole examination, as findings or as plain data."""

from __future__ import annotations

from typing import Any

from appliance.doctor.communication import communication_findings
from appliance.doctor.device import device_findings
from appliance.doctor.finding import Finding, Level
from appliance.doctor.look import look
from appliance.doctor.memory import memory_findings
from appliance.doctor.objectives import objective_findings
from appliance.doctor.observations import Observations
from appliance.instance import Instance

_WORST_LAST = tuple(Level)


def findings(seen: Observations) -> list[Finding]:
    """What the observations mean. Pure."""
    return [
        *communication_findings(seen),
        *device_findings(seen),
        *memory_findings(seen),
        *objective_findings(seen),
    ]


def health_report(instance: Instance) -> dict[str, Any]:
    """JSON-able: the worst `level`, and every finding with `level`, `about`, `seen` and `advice`.

    Takes as long as the slowest answer, a few seconds where a process is silent. Works where nothing runs.
    """
    found = findings(look(instance))
    return {"level": worst_of(found), "findings": [finding.as_dict() for finding in found]}


def worst_of(found: list[Finding]) -> Level:
    return max((finding.level for finding in found), key=_WORST_LAST.index, default=Level.OK)
