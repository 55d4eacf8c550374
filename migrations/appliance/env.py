"""Alembic calls this; `appliance/store/migration.py` has opened the connection and its transaction."""

from alembic import context

from appliance.store.schema import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema,
    render_as_batch=True,  # SQLite alters a table by making it anew
    transactional_ddl=True,
)
context.run_migrations()
