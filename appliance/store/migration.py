"""From the revision a database has to the one this release needs, in one transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

import migrations
from engine.errors import CannotStart

SCRIPTS = Path(migrations.__file__).parent / "appliance"


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Raises `CannotStart` where the database was written by a newer release."""
    require_known(current_revision(connection))
    command.upgrade(config_for(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Back to `revision`; "base" is an empty database."""
    command.downgrade(config_for(connection), revision)


def current_revision(connection: Connection) -> str | None:
    """None of an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def revisions() -> list[str]:
    """All there are, oldest first."""
    return [script.revision for script in _scripts().walk_revisions()][::-1]


def require_known(revision: str | None) -> None:
    """Raises `CannotStart` for a revision that this release has never heard of."""
    if revision is not None and revision not in revisions():
        raise CannotStart(
            f"The database has revision {revision}, which this release does not know: a newer release wrote it. "
            "Install that release, or restore a backup that this one made."
        )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(SCRIPTS))


def config_for(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
