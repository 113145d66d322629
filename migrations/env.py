"""Alembic's entry: runs the migrations over the connection handed in by `stepwire db upgrade`."""

from __future__ import annotations

from alembic import context


def run() -> None:
    """Run each migration in a transaction of its own; the version table lives in the engine's schema.

    One that fills or indexes a large table needs several (`autocommit_block`): in one, writers would wait for its end.
    """
    connection = context.config.attributes["connection"]
    connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS stepwire_engine")
    connection.commit()
    context.configure(
        connection=connection,
        version_table_schema="stepwire_engine",
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
