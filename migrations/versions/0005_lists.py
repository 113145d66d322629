"""Lists of processes by page, order and filter, from indexes alone.

Old code runs beside it: nothing it writes is renamed or refused. While the table is rewritten for the new column its
writers wait, about 20 s for a million processes; less than their statements may take.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Running processes change at every step: an index over the time of their last change would make each of these updates
# write to all indexes of the table. So that time is indexed only once a process rests.
UP = """
SET LOCAL search_path = stepwire_engine;

ALTER TABLE processes ADD COLUMN rested_at timestamptz
    GENERATED ALWAYS AS (CASE WHEN status NOT IN ('created', 'running') THEN last_modified_at END) STORED;
DROP INDEX processes_started;
CREATE INDEX processes_listed_started ON processes (started_at, process_id)
    INCLUDE (workflow, target, status, is_task, created_by, reporter, assignee, priority)
    WHERE status NOT IN ('created', 'running');
CREATE INDEX processes_listed_modified ON processes (rested_at, process_id)
    INCLUDE (workflow, target, status, is_task, started_at)
    WHERE status NOT IN ('created', 'running');
CREATE INDEX processes_listed_workflow ON processes (workflow, started_at, process_id)
    INCLUDE (target, status, is_task)
    WHERE status NOT IN ('created', 'running');
CREATE INDEX processes_labels ON processes USING gin (labels jsonb_path_ops)
    WHERE labels <> '{}' AND status NOT IN ('created', 'running');
CREATE INDEX processes_noted ON processes (process_id) WHERE note IS NOT NULL;
"""

DOWN = """
SET LOCAL search_path = stepwire_engine;

DROP INDEX processes_noted, processes_labels, processes_listed_workflow, processes_listed_modified,
    processes_listed_started;
CREATE INDEX processes_started ON processes (started_at);
ALTER TABLE processes DROP COLUMN rested_at;
"""


def upgrade() -> None:
    """Add the column and the indexes."""
    op.get_bind().exec_driver_sql(UP)


def downgrade() -> None:
    """Remove them, once no gateway reads them any more."""
    op.get_bind().exec_driver_sql(DOWN)
