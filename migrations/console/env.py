"""Alembic calls this; `webui/storage/migration.py` has opened the connection and its transaction."""

from alembic import context

from webui.storage.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters a table by making it anew
    transactional_ddl=True,
)
context.run_migrations()
