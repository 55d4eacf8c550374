"""Brings `console.db` to the revision this release needs, in one transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

import migrations
from engine.errors import CannotStart

SCRIPTS = Path(migrations.__file__).parent / "console"


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Raises `CannotStart` where a newer release wrote the database."""
    found = current_revision(connection)
    if found is not None and found not in revisions():
        raise CannotStart(
            f"The console's database has revision {found}, which this release does not know: a newer release wrote it. "
            "Install that release, or restore a backup that this one made."
        )
    command.upgrade(_config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Back to `revision`; "base" is an empty database."""
    command.downgrade(_config(connection), revision)


def current_revision(connection: Connection) -> str | None:
    """None of an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def revisions() -> list[str]:
    """All there are, oldest first."""
    return [script.revision for script in ScriptDirectory(str(SCRIPTS)).walk_revisions()][::-1]


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
