"""The trace a process belongs to.

Revision ID: 0003
Revises: 0002

Code that does not know the column goes on: it is nullable, and a process without one derives its trace from its id.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE stepwire_engine.processes ADD COLUMN traceparent text")


def downgrade() -> None:
    op.execute("ALTER TABLE stepwire_engine.processes DROP COLUMN traceparent")
