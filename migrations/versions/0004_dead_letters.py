"""What operators did about dead letters.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# The letters themselves stay in Kafka; a topic that was deleted and made anew has another id.
TABLE = """
CREATE TABLE stepwire_engine.dead_letter_actions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic_id text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    topic text NOT NULL,
    action text NOT NULL CHECK (action IN ('replay', 'discard')),
    reason text,
    done_by text NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at timestamptz
);
CREATE INDEX dead_letter_actions_letter ON stepwire_engine.dead_letter_actions (topic_id, partition, "offset");
"""


def upgrade() -> None:
    """A table nobody else knows."""
    op.get_bind().exec_driver_sql(TABLE)


def downgrade() -> None:
    """Forget what was done; the letters show again."""
    op.get_bind().exec_driver_sql("DROP TABLE stepwire_engine.dead_letter_actions")
