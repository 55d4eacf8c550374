"""`semi-pd keys`: who may use the REST endpoint and the console's API, whether the appliance runs or not."""

from __future__ import annotations

import json
import re
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer import Argument, BadParameter, Option

from appliance.commands.terminal import JSON, REFUSED, explained
from appliance.control.client import NotRunning, ask
from appliance.control.messages import AddKey, Reply, RevokeKey
from appliance.instance import Instance
from appliance.person import person
from appliance.status import clock

DAY = 86400

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
NAME = Annotated[str, Argument(help="1 to 64 letters, digits, '.', '_', '@' or '-'.")]


@app.callback()
def keys() -> None:
    """API keys: list them, add one, revoke one."""


@app.command("list")
def list_keys(as_json: JSON = False) -> None:
    """Show all keys, revoked and expired ones too; the keys themselves are kept nowhere."""
    from appliance.store import queries  # noqa: PLC0415  SQLAlchemy takes a while to import
    from appliance.store.reading import reading  # noqa: PLC0415

    with explained(), reading(Instance.of_user().state_dir) as connection:
        rows = queries.keys(connection)
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        Console().print(_table(rows))


@app.command()
def add(
    name: NAME,
    expires: Annotated[str | None, Option(metavar="DAYS|DATE", help="30, or 2027-01-31; absent: never.")] = None,
    requests_per_minute: Annotated[int | None, Option(help="Its limit; absent: none of its own.")] = None,
    scope: Annotated[list[str] | None, Option(help="inference, admin; may be given twice. Absent: inference.")] = None,
) -> None:
    """Make a key. It is shown now and never again."""
    expires_at = None if expires is None else expiry(expires, time.time())
    command = AddKey(name, person(), tuple(scope or ("inference",)), expires_at, requests_per_minute)
    reply = _done(command)
    typer.echo(reply.sentence, err=True)
    typer.echo(json.loads(reply.data)["key"])


@app.command()
def revoke(name: NAME) -> None:
    """Have a key refused from the next request on."""
    typer.echo(_done(RevokeKey(name, person())).sentence)


def expiry(text: str, now: float) -> float:
    """Days from now, or the end of a day."""
    if text.isdecimal():
        return now + int(text) * DAY
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        try:
            return time.mktime(time.strptime(text, "%Y-%m-%d")) + DAY
        except ValueError:
            pass
    raise BadParameter(f"{text!r} is neither a number of days nor a date like 2027-01-31", param_hint="--expires")


def _done(command: AddKey | RevokeKey) -> Reply:
    """By the running appliance or, where none runs, here."""
    from appliance.store.desk import change_key_offline  # noqa: PLC0415  SQLAlchemy takes a while to import

    instance = Instance.of_user()
    with explained(REFUSED):
        try:
            reply = ask(instance, command)
        except NotRunning:
            reply = change_key_offline(instance, command)
    if not reply.done:
        typer.secho(reply.sentence, err=True, fg="red")
        raise typer.Exit(REFUSED)
    return reply


def _table(rows: list[dict[str, Any]]) -> Table | str:
    if not rows:
        return "There is no key yet: the first start makes one."
    table = Table("name", "scopes", "limit a minute", "made", "by", "expires", "last used", "state")
    now = time.time()
    for row in rows:
        times = [_time(row[name], absent) for name, absent in (("expires_at", "never"), ("last_used_at", "never"))]
        limit = str(row["requests_per_minute"] or "–")
        table.add_row(
            row["name"], ", ".join(row["scopes"]), limit, clock(row["created_at"]), row["created_by"], *times,
            _state(row, now),
        )  # fmt: skip
    return table


def _state(row: dict[str, Any], now: float) -> str:
    if row["revoked_at"] is not None:
        return f"revoked {clock(row['revoked_at'])} by {row['revoked_by']}"
    return "expired" if row["expires_at"] is not None and row["expires_at"] <= now else "valid"


def _time(at: float | None, absent: str) -> str:
    return absent if at is None else clock(at)
