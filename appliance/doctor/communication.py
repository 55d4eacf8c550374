"""Whether the processes are there, and answer one another in time. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.doctor.finding import Finding, advise, fine, trouble
from appliance.doctor.observations import Observations

SLOW_MS = 250.0
"""An answer takes well below a millisecond where processes get to run."""


def communication_findings(seen: Observations) -> Iterator[Finding]:
    if seen.running_pid is None:
        yield advise("appliance", "No appliance of this user is running.", "Start one with `semi-pd serve`.")
        if seen.port_problem:
            yield trouble("endpoint", seen.port_problem, "Free it, or choose another port.")
        return
    yield from _processes(seen)
    yield from _answers(seen)
    if seen.status is not None and not seen.status["health"]["healthy"]:
        yield trouble("appliance", seen.status["health"]["reason"], "Look at the logs, and at `semi-pd rotations`.")


def _processes(seen: Observations) -> Iterator[Finding]:
    bad = [process for process in seen.processes if process.state in (None, "zombie", "stopped", "tracing-stop")]
    for process in bad:
        what = "is gone" if process.state in (None, "zombie") else f"is {process.state}"
        advice = "Restart the appliance." if process.state in (None, "zombie") else f"`kill -CONT {process.pid}`."
        yield trouble("processes", f"The process {process.name} ({process.pid}) {what}.", advice)
    if seen.processes and not bad:
        yield fine("processes", f"All {len(seen.processes)} run.")


def _answers(seen: Observations) -> Iterator[Finding]:
    for answer in seen.answers:
        about = "communication"
        if answer.milliseconds is None:
            advice = "Look at its log; where it stays silent, restart the appliance."
            yield trouble(about, f"The {answer.peer} does not answer: {answer.problem}", advice)
        elif answer.milliseconds > SLOW_MS:
            advice = "The processors are overloaded: run nothing beside the appliance, or fewer gateway workers."
            yield advise(about, f"The {answer.peer} took {answer.milliseconds:.0f} ms to answer.", advice)
        else:
            yield fine(about, f"The {answer.peer} answered in {answer.milliseconds:.1f} ms.")
