"""A line for every effect of a step.

Revision ID: faults_0001
Revises: -
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "faults_0001"
down_revision = None
branch_labels = ("faults",)
depends_on = None


def upgrade() -> None:
    """Create the table; without unique constraints on purpose, so that a repetition shows."""
    op.create_table(
        "fault_effects",
        sa.Column("process_id", sa.Uuid, nullable=False),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("effect", sa.Text, nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("fault_effects")
