"""`python -m appliance.store.revision "what changes"`: a new migration, from what the schema has and revisions lack."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from appliance.store.database import open_database
from appliance.store.migration import config_for


def write_revision(message: str) -> None:
    with tempfile.TemporaryDirectory() as directory, open_database(Path(directory) / "new.db").engine.begin() as latest:
        command.revision(config_for(latest), message, autogenerate=True)


if __name__ == "__main__":
    write_revision(sys.argv[1])
