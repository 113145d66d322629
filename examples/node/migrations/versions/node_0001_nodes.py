"""Nodes, and a line for every effect of a step.

Revision ID: node_0001
Revises: -
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0001"
down_revision = None
branch_labels = ("node",)
depends_on = None


def upgrade() -> None:
    """Create the example's tables."""
    op.create_table(
        "nodes",
        sa.Column("node_id", sa.Integer, primary_key=True),
        sa.Column("subscription_id", sa.Uuid, nullable=False),
        sa.Column("node_name", sa.Text, nullable=False),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("product", sa.Text, nullable=False),
        sa.Column("address", sa.Text),
        sa.Column("activated_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "node_effects",
        sa.Column("effect_id", sa.Integer, primary_key=True),
        sa.Column("process_id", sa.Uuid, nullable=False),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("effect", sa.Text, nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    )


def downgrade() -> None:
    """Drop the example's tables."""
    op.drop_table("node_effects")
    op.drop_table("nodes")
