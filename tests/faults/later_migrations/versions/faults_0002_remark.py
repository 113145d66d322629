"""A column that old code knows nothing of.

Revision ID: faults_0002
Revises: faults_0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "faults_0002"
down_revision = "faults_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it without a rewrite of the table."""
    op.add_column("fault_effects", sa.Column("remark", sa.Text))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("fault_effects", "remark")
