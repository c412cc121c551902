"""What alembic runs: the migrations go over the connection that `storage.migrations.upgrade` hands in."""

from __future__ import annotations

from alembic import context

from storage.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("Run the migrations by storage.migrations.upgrade(url): it takes the lock that they need.")
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
