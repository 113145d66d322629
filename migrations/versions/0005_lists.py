"""Lists of processes by page, order and filter, from indexes alone.

Old code runs beside it: a trigger keeps the new column for it, rows that are there are filled some at a time, and the
indexes are built beside writers. Broken off in the middle it can be run again.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from uuid import UUID

from alembic import op
from sqlalchemy import text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Running processes change at every step: an index over the time of their last change would make each of these updates
# write to all indexes of the table. So that time is indexed only once a process rests. A generated column
# would be simpler, but adding one rewrites the table while everybody waits.
COLUMN = """
ALTER TABLE stepwire_engine.processes ADD COLUMN IF NOT EXISTS rested_at timestamptz;
CREATE OR REPLACE FUNCTION stepwire_engine.note_rest() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.rested_at := CASE WHEN NEW.status NOT IN ('created', 'running') THEN NEW.last_modified_at END;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER processes_rest BEFORE INSERT OR UPDATE ON stepwire_engine.processes FOR EACH ROW
    WHEN (NEW.status NOT IN ('created', 'running') OR NEW.rested_at IS NOT NULL)
    EXECUTE FUNCTION stepwire_engine.note_rest();
"""
SOME = 5000
FIRST = UUID(int=0)
# Written as they are: the trigger does the rest.
FILL = text("""
WITH batch AS MATERIALIZED (
    SELECT process_id FROM stepwire_engine.processes WHERE process_id > :after ORDER BY process_id LIMIT :some
), filled AS (
    UPDATE stepwire_engine.processes AS p SET status = p.status FROM batch
    WHERE p.process_id = batch.process_id AND p.rested_at IS NULL AND p.status NOT IN ('created', 'running')
)
SELECT process_id FROM batch ORDER BY process_id DESC LIMIT 1
""")
INDEXES = {
    "processes_listed_started": """(started_at, process_id)
        INCLUDE (workflow, target, status, is_task, created_by, reporter, assignee, priority)
        WHERE status NOT IN ('created', 'running')""",
    "processes_listed_modified": """(rested_at, process_id)
        INCLUDE (workflow, target, status, is_task, started_at)
        WHERE status NOT IN ('created', 'running')""",
    "processes_listed_workflow": """(workflow, started_at, process_id)
        INCLUDE (target, status, is_task)
        WHERE status NOT IN ('created', 'running')""",
    "processes_listed_status": """(status, started_at, process_id)
        INCLUDE (target, is_task)
        WHERE status NOT IN ('created', 'running')""",
    "processes_labels": """USING gin (labels jsonb_path_ops)
        WHERE labels <> '{}' AND status NOT IN ('created', 'running')""",
    "processes_noted": "(process_id) WHERE note IS NOT NULL",
}

DOWN = """
SET LOCAL search_path = stepwire_engine;

DROP INDEX processes_noted, processes_labels, processes_listed_status, processes_listed_workflow,
    processes_listed_modified, processes_listed_started;
CREATE INDEX processes_started ON processes (started_at);
DROP TRIGGER processes_rest ON processes;
DROP FUNCTION note_rest;
ALTER TABLE processes DROP COLUMN rested_at;
"""


def upgrade() -> None:
    """Add the column with its trigger, fill it, and build the indexes."""
    op.get_bind().exec_driver_sql(COLUMN)
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        after: UUID | None = FIRST
        while after is not None:
            after = connection.execute(FILL, {"after": after, "some": SOME}).scalar()
        # Nobody waits for an index that is built beside writers, so it may wait for them as long as it takes.
        patience = connection.exec_driver_sql("SHOW lock_timeout").scalar()
        connection.exec_driver_sql("SET lock_timeout = 0")
        for name, definition in INDEXES.items():
            # What an attempt before this one left behind is not valid.
            connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS stepwire_engine.{name}")
            connection.exec_driver_sql(f"CREATE INDEX CONCURRENTLY {name} ON stepwire_engine.processes {definition}")
        connection.exec_driver_sql("DROP INDEX CONCURRENTLY IF EXISTS stepwire_engine.processes_started")
        # Not RESET, which knows the server's own value: the revisions that follow would hold up whoever comes.
        connection.exec_driver_sql(f"SET lock_timeout = '{patience}'")


def downgrade() -> None:
    """Remove them, once no gateway reads them any more."""
    op.get_bind().exec_driver_sql(DOWN)
