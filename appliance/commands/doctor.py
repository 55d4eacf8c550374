"""`semi-pd doctor`: what is wrong, or will be, and what to do."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer import Option

from appliance.commands.terminal import JSON, asked, logged
from appliance.control.messages import FreeCachedPages
from appliance.doctor import Level, health_report
from appliance.instance import Instance

SIGNS = {Level.OK: ("✓", "green"), Level.ADVICE: ("→", "yellow"), Level.PROBLEM: ("✗", "red")}
TROUBLE = 1
"""Exit code where there is a problem."""


@logged
def doctor(
    as_json: JSON = False,
    free_cached_pages: Annotated[
        bool, Option("--free-cached-pages", help="Forget the KV pages that no request holds, first.")
    ] = False,
) -> None:
    """Look for what is wrong, or will be, and say what to do. Ends with 1 where there is a problem."""
    if free_cached_pages:
        typer.echo(asked(FreeCachedPages()).sentence, err=as_json)
    report = health_report(Instance.of_user())
    if as_json:
        typer.echo(json.dumps(report))
    else:
        show(report, Console())
    sys.exit(TROUBLE if report["level"] == Level.PROBLEM else 0)


def show(report: dict[str, Any], console: Console) -> None:
    """One line a finding, with what to do below it."""
    table = Table.grid(padding=(0, 1))
    for finding in report["findings"]:
        sign, style = SIGNS[Level(finding["level"])]
        table.add_row(f"[{style}]{sign}[/]", finding["about"], finding["seen"])
        if finding["advice"]:
            table.add_row("", "", f"[{style}]{finding['advice']}[/]")
    console.print(table)
