"""Forms that stand by themselves: which there are, and which executors serve them.

Old code runs beside it: the table is new to it, and an executor of it serves no such form.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UP = """
SET LOCAL search_path = stepwire_engine;

CREATE TABLE forms (
    key text PRIMARY KEY,
    queue text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    offered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE executors ADD COLUMN forms text[] NOT NULL DEFAULT '{}';
"""

DOWN = """
SET LOCAL search_path = stepwire_engine;

ALTER TABLE executors DROP COLUMN forms;
DROP TABLE forms;
"""


def upgrade() -> None:
    """Add the table and the column."""
    op.get_bind().exec_driver_sql(UP)


def downgrade() -> None:
    """Remove them, once no executor writes them any more."""
    op.get_bind().exec_driver_sql(DOWN)
