"""`semi-pd backup` and `semi-pd restore`: the controller's database as one file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument

from appliance.commands.terminal import REFUSED, explained
from appliance.instance import Instance


def backup(file: Annotated[Path, Argument(help="Where to write it; an older file there is replaced.")]) -> None:
    """Copy targets, keys, metrics and history to a file, also while the appliance serves."""
    from appliance.store.backup import back_up  # noqa: PLC0415  SQLAlchemy takes a while to import
    from appliance.store.reading import FILE  # noqa: PLC0415

    with explained(REFUSED):
        back_up(Instance.of_user().state_dir / FILE, file.absolute())
    typer.echo(f"Backed up to {file}, {file.stat().st_size / 2**20:.1f} MiB.")


def restore(file: Annotated[Path, Argument(help="What `semi-pd backup` has written.")]) -> None:
    """Put a backup in the place of the database. The appliance must not run."""
    from appliance.store.backup import keep_replaced  # noqa: PLC0415  SQLAlchemy takes a while to import
    from appliance.store.backup import restore as put_back  # noqa: PLC0415
    from appliance.store.reading import FILE  # noqa: PLC0415

    instance = Instance.of_user()
    with explained(REFUSED):
        instance.claim()
        try:
            database = instance.state_dir / FILE
            kept_as = keep_replaced(database, time.time())
            put_back(file, database)
        finally:
            instance.release()
    typer.echo(f"Restored from {file}. Keys that were revoked since that backup are valid again.")
    if kept_as is not None:
        typer.echo(f"What was there before is kept as {kept_as}.")
