"""What retention asks for now and then is found by indexes: tasks to be removed, users of a manifest, old notes.

Old code runs beside it: the indexes are built beside writers, and nothing has to know them. Broken off in the middle it
can be run again.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Like those of lists, written when a process comes to rest: its steps cost these indexes nothing.
INDEXES = {
    "processes_tasks_completed": "processes (completed_at) WHERE is_task AND status = 'completed'",
    "processes_manifest": "processes (manifest) WHERE status NOT IN ('created', 'running')",
    "process_notes_engine": "process_notes (created_at) WHERE kind <> 'note'",
}


def upgrade() -> None:
    """Build the indexes; nobody waits for them, so they may wait for others as long as it takes."""
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        patience = connection.exec_driver_sql("SHOW lock_timeout").scalar()
        connection.exec_driver_sql("SET lock_timeout = 0")
        for name, definition in INDEXES.items():
            # What an attempt before this one left behind is not valid.
            connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS stepwire_engine.{name}")
            connection.exec_driver_sql(f"CREATE INDEX CONCURRENTLY {name} ON stepwire_engine.{definition}")
        # Not RESET, which knows the server's own value: the revisions that follow would hold up whoever comes.
        connection.exec_driver_sql(f"SET lock_timeout = '{patience}'")


def downgrade() -> None:
    """Remove them; retention reads more then."""
    names = ", ".join(f"stepwire_engine.{name}" for name in INDEXES)
    op.get_bind().exec_driver_sql(f"DROP INDEX {names}")
