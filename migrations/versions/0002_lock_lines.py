"""Who waits for a lock stands in a line: by priority, then by the order in which they came.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Coordinators from before this revision let nobody wait, so the table is empty and they never look at it.
LINES = """
ALTER TABLE stepwire_engine.lock_waiters ADD COLUMN place bigint GENERATED ALWAYS AS IDENTITY;
CREATE INDEX lock_waiters_line ON stepwire_engine.lock_waiters (key, priority DESC, place);
CREATE INDEX lock_waiters_process ON stepwire_engine.lock_waiters (process_id);
"""
NO_LINES = """
DROP INDEX stepwire_engine.lock_waiters_line;
DROP INDEX stepwire_engine.lock_waiters_process;
ALTER TABLE stepwire_engine.lock_waiters DROP COLUMN place;
"""


def upgrade() -> None:
    """Number the places of those who wait."""
    op.get_bind().exec_driver_sql(LINES)


def downgrade() -> None:
    """Forget the places; nobody may be waiting when older coordinators take over."""
    op.get_bind().exec_driver_sql(NO_LINES)
