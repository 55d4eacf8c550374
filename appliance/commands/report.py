"""`semi-pd slo report`: the compliance report, from the database; nothing has to run."""

from __future__ import annotations

import json
import re
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typer import BadParameter, Option

from appliance.commands.terminal import JSON, explained
from appliance.instance import Instance

_SECONDS = {"m": 60, "h": 3600, "d": 86400}


class Table(StrEnum):
    HOUR = "hour"
    SPLIT = "split"


def seconds_in(text: str) -> float:
    """90m, 24h, 7d."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text.strip())
    if found is None or float(found[1]) <= 0:
        raise BadParameter(f"a span is a number of minutes, hours or days: 90m, 24h, 7d; not {text!r}")
    return float(found[1]) * _SECONDS[found[2]]


def report(
    since: Annotated[float, Option(parser=seconds_in, metavar="SPAN", help="How far back: 90m, 24h, 7d.")] = "24h",  # type: ignore[assignment]
    by: Annotated[Table | None, Option(help="Only this table: hour, or split.")] = None,
    as_json: JSON = False,
    plot: Annotated[Path | None, Option(help="Draw it too, as SVG.")] = None,
) -> None:
    """How many requests kept the targets, by hour and by split, what was missed and what was done."""
    from appliance.slo.report import report_of  # noqa: PLC0415  SQLAlchemy takes a while to import
    from appliance.slo.report_plot import as_svg  # noqa: PLC0415
    from appliance.slo.report_table import report_page  # noqa: PLC0415
    from appliance.store import queries  # noqa: PLC0415
    from appliance.store.reading import reading  # noqa: PLC0415

    until = time.time()
    with explained(), reading(Instance.of_user().state_dir) as connection:
        rows = queries.attainment(connection, until - since, until)
        found = report_of(rows, queries.marks(connection, until - since, until), until - since, until)
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
    else:
        Console().print(report_page(found, [by] if by else list(Table)))
    if plot is not None:
        plot.write_text(as_svg(found))
        typer.echo(f"Drawn in {plot}.", err=True)
