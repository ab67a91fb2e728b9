"""Alembic's entry: runs the migrations in the transaction that `Ledger.migrate` opened."""

from __future__ import annotations

from alembic import context

from storage.ledger.tables import metadata

connection = context.config.attributes.get("connection")
if connection is not None:
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
else:
    # `--sql`: print the statements for a database whose owner runs them by hand
    context.configure(
        url=context.config.get_main_option("sqlalchemy.url"), target_metadata=metadata, literal_binds=True
    )
with context.begin_transaction():
    context.run_migrations()
