"""The first migration, as it was.

Revision ID: faults_0001
Revises: -
"""

from __future__ import annotations

from tests.faults.migrations.versions import faults_0001_effects as first

revision = first.revision
down_revision = first.down_revision
branch_labels = first.branch_labels
depends_on = first.depends_on
upgrade = first.upgrade
downgrade = first.downgrade
