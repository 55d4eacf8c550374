"""`semi-pd slo`: the two targets, shown beside what is seen, or set."""

from __future__ import annotations

import json
from typing import Annotated

from rich.console import Console
from typer import Context, Option, Typer

from appliance.commands.report import report
from appliance.commands.terminal import LOG_LEVEL, asked, log_to_terminal, tell
from appliance.control.messages import AskStatus, SetTarget
from appliance.person import person
from appliance.status import target_table

app = Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(report)


@app.callback(invoke_without_command=True)
def slo(
    context: Context,
    ttft_ms: Annotated[float | None, Option(help="Target of the time to the first token.")] = None,
    tpot_ms: Annotated[float | None, Option(help="Target of the time a token.")] = None,
    window_seconds: Annotated[float | None, Option(help="How far back the policy looks.")] = None,
    cooldown_seconds: Annotated[float | None, Option(help="How long it leaves a split alone after a change.")] = None,
    min_confidence: Annotated[float | None, Option(help="How sure it must be to move, from 0 to 1.")] = None,
    reason: Annotated[str, Option(help="Kept with the change, beside who made it and when.")] = "",
    log_level: LOG_LEVEL = None,
) -> None:
    """Show the SLO targets of the running appliance beside what is seen, or set them."""
    if log_level is not None:
        log_to_terminal(log_level)
    if context.invoked_subcommand is not None:
        return
    wanted = (ttft_ms, tpot_ms, window_seconds, cooldown_seconds, min_confidence)
    if all(setting is None for setting in wanted):
        Console().print(target_table(json.loads(asked(AskStatus()).data)["slo"]))
    else:
        tell(SetTarget(*wanted, by=person(), reason=reason))
