"""What Alembic runs to migrate: always over the connection of :func:`common.migrating.upgrade`."""

from __future__ import annotations

from alembic import context

from server.journal.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
