"""alembic's entry: run migrations on the connection that migrate.upgrade() gives."""

from __future__ import annotations

from alembic import context

from certshelf.manage.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
    transactional_ddl=True,  # the caller's transaction holds every statement, on SQLite too
)
context.run_migrations()
