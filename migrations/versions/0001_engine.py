"""The engine's own tables, and the subscriptions they guard.

Revision ID: 0001
Revises: -
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Nothing here has a foreign key into tables that steps write: a step's row lock would stall a batch.
TABLES = """
CREATE SCHEMA IF NOT EXISTS stepwire_engine;
SET LOCAL search_path = stepwire_engine;

CREATE TABLE engine_settings (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    paused boolean NOT NULL DEFAULT false,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text
);
INSERT INTO engine_settings DEFAULT VALUES;

CREATE TABLE commands (
    command_id text PRIMARY KEY,
    type text NOT NULL,
    process_id uuid,
    content_hash bytea NOT NULL,
    body bytea NOT NULL,
    status text NOT NULL DEFAULT 'received',
    reason text,
    answer jsonb,
    answer_id uuid,
    reply_to text,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    answered_at timestamptz
);
CREATE INDEX commands_open ON commands (received_at) WHERE status IN ('received', 'held');
CREATE INDEX commands_received ON commands (received_at);

CREATE TABLE processes (
    process_id uuid PRIMARY KEY,
    workflow text NOT NULL,
    target text NOT NULL,
    is_task boolean NOT NULL,
    status text NOT NULL,
    node text NOT NULL,
    attempt integer NOT NULL DEFAULT 1,
    epoch integer NOT NULL DEFAULT 0,
    runnable boolean NOT NULL DEFAULT false,
    granted boolean NOT NULL DEFAULT false,
    alone boolean NOT NULL DEFAULT false,
    lost integer NOT NULL DEFAULT 0,
    queue text NOT NULL DEFAULT 'default',
    manifest text NOT NULL,
    prefix text NOT NULL,
    snapshot bytea,
    snapshot_seq integer NOT NULL DEFAULT 0,
    state_bytes integer NOT NULL DEFAULT 0,
    log_seq integer NOT NULL DEFAULT 0,
    event_seq integer NOT NULL DEFAULT 0,
    command_id text,
    pending_command text,
    subscription_id uuid,
    held_locks text[] NOT NULL DEFAULT '{}',
    secret_id text,
    callback_key bytea,
    deadline timestamptz,
    failure text,
    last_step text,
    assignee text,
    failed_reason text,
    traceback text,
    form jsonb,
    waiting_on jsonb,
    progress jsonb,
    reporter text,
    created_by text,
    priority integer NOT NULL DEFAULT 0,
    labels jsonb NOT NULL DEFAULT '{}',
    note text,
    on_conflict text NOT NULL DEFAULT 'reject',
    hold boolean NOT NULL DEFAULT false,
    dispatched_at timestamptz,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_modified_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at timestamptz
) WITH (fillfactor = 70);
ALTER TABLE processes ALTER COLUMN snapshot SET STORAGE EXTERNAL;
CREATE INDEX processes_runnable ON processes (queue, priority DESC, dispatched_at) WHERE runnable;
CREATE INDEX processes_unfinished ON processes (workflow, status)
    WHERE status NOT IN ('completed', 'aborted', 'rejected');
CREATE INDEX processes_started ON processes (started_at);
CREATE INDEX processes_subscription ON processes (subscription_id) WHERE subscription_id IS NOT NULL;

CREATE TABLE process_steps (
    process_id uuid NOT NULL,
    seq integer NOT NULL,
    node text NOT NULL,
    name text NOT NULL,
    status text NOT NULL,
    attempt integer NOT NULL,
    retries integer NOT NULL DEFAULT 0,
    epoch integer NOT NULL,
    delta jsonb,
    error jsonb,
    started_at timestamptz,
    completed_at timestamptz,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    executor text,
    created_by text,
    code_version text,
    body_hash bytea,
    PRIMARY KEY (process_id, seq)
);

CREATE TABLE process_notes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    process_id uuid NOT NULL,
    kind text NOT NULL,
    body jsonb NOT NULL,
    created_by text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX process_notes_process ON process_notes (process_id);

CREATE TABLE process_inputs (
    process_id uuid NOT NULL,
    seq integer NOT NULL,
    node text NOT NULL,
    pages jsonb NOT NULL,
    given_by text,
    command_id text,
    given_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (process_id, seq)
);

CREATE TABLE process_subscriptions (
    process_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (process_id, subscription_id)
);
CREATE INDEX process_subscriptions_subscription ON process_subscriptions (subscription_id);

CREATE TABLE run_claims (
    process_id uuid NOT NULL,
    epoch integer NOT NULL,
    executor uuid NOT NULL,
    node text NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    revoked boolean NOT NULL DEFAULT false,
    PRIMARY KEY (process_id, epoch)
);
CREATE INDEX run_claims_executor ON run_claims (executor) WHERE ended_at IS NULL;
CREATE INDEX run_claims_revoked ON run_claims (executor) WHERE revoked AND ended_at IS NULL;

CREATE TABLE executors (
    executor uuid PRIMARY KEY,
    name text NOT NULL,
    queues text[] NOT NULL,
    manifests text[] NOT NULL,
    lease_seconds double precision NOT NULL,
    draining boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz
);

CREATE TABLE coordinators (
    coordinator uuid PRIMARY KEY,
    name text NOT NULL,
    beat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    steady_since timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE manifests (
    hash text PRIMARY KEY,
    workflow text NOT NULL,
    body jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    offered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX manifests_workflow ON manifests (workflow, offered_at DESC);

CREATE TABLE manifest_nodes (
    manifest text NOT NULL REFERENCES manifests (hash) ON DELETE CASCADE,
    position integer NOT NULL,
    chain text NOT NULL,
    PRIMARY KEY (chain, manifest)
);
CREATE INDEX manifest_nodes_manifest ON manifest_nodes (manifest);

CREATE TABLE step_outcomes (
    process_id uuid NOT NULL,
    node text NOT NULL,
    attempt integer NOT NULL,
    status text NOT NULL,
    result bytea,
    executor uuid NOT NULL,
    epoch integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (process_id, node, attempt)
);

CREATE TABLE locks (
    key text PRIMARY KEY,
    owner uuid,
    reason text,
    since timestamptz
);
CREATE INDEX locks_owner ON locks (owner) WHERE owner IS NOT NULL;

CREATE TABLE lock_waiters (
    key text NOT NULL,
    process_id uuid NOT NULL,
    priority integer NOT NULL DEFAULT 0,
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (key, process_id)
);

CREATE TABLE timers (
    process_id uuid NOT NULL,
    kind text NOT NULL,
    due_at timestamptz NOT NULL,
    epoch integer NOT NULL,
    PRIMARY KEY (process_id, kind)
);
CREATE INDEX timers_due ON timers (due_at);

CREATE TABLE callback_inbox (
    process_id uuid NOT NULL,
    node text NOT NULL,
    attempt integer NOT NULL,
    payload jsonb NOT NULL,
    body_hash bytea NOT NULL,
    source text,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_at timestamptz,
    PRIMARY KEY (process_id, node, attempt)
);
CREATE INDEX callback_inbox_open ON callback_inbox (received_at) WHERE applied_at IS NULL;

CREATE TABLE outbox (
    id uuid PRIMARY KEY,
    records bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz NOT NULL DEFAULT clock_timestamp() + interval '5 seconds'
);
ALTER TABLE outbox ALTER COLUMN records SET STORAGE EXTERNAL;
CREATE INDEX outbox_due ON outbox (due_at);

CREATE TABLE set_aside (
    topic_id text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    topic text NOT NULL,
    process_id uuid NOT NULL,
    kind text NOT NULL,
    body bytea NOT NULL,
    set_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic_id, partition, "offset")
);
CREATE INDEX set_aside_process ON set_aside (process_id, set_at);

CREATE TABLE result_positions (
    topic_id text NOT NULL,
    partition integer NOT NULL,
    topic text NOT NULL,
    next_offset bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic_id, partition)
);

CREATE TABLE results_dropped (
    reason text PRIMARY KEY,
    count bigint NOT NULL DEFAULT 0
);
"""

SUBSCRIPTIONS = """
SET LOCAL search_path = public;

CREATE TABLE IF NOT EXISTS subscriptions (
    subscription_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    description text NOT NULL DEFAULT '',
    status varchar(255) NOT NULL DEFAULT 'initial',
    product_id uuid,
    customer_id varchar NOT NULL DEFAULT '',
    insync boolean NOT NULL DEFAULT false,
    start_date timestamptz,
    end_date timestamptz,
    note text,
    version integer NOT NULL DEFAULT 1
);
CREATE INDEX IF NOT EXISTS subscriptions_product ON subscriptions (product_id);
CREATE INDEX IF NOT EXISTS subscriptions_status ON subscriptions (status);

-- Only the lock's owner may say that the subscription is in sync again.
CREATE OR REPLACE FUNCTION stepwire_engine.guard_insync() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE holder uuid;
BEGIN
    SELECT owner INTO holder FROM stepwire_engine.locks
        WHERE key = 'subscription:' || NEW.subscription_id::text;
    IF holder IS NOT NULL
        AND holder::text <> coalesce(current_setting('stepwire.process_id', true), '') THEN
        RAISE EXCEPTION 'subscription %% is locked by process %%; wait for it or abort it',
            NEW.subscription_id, holder USING ERRCODE = 'object_in_use';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER subscriptions_guard_insync BEFORE UPDATE OF insync ON subscriptions
    FOR EACH ROW WHEN (NEW.insync AND NOT OLD.insync)
    EXECUTE FUNCTION stepwire_engine.guard_insync();

-- Taking and freeing the lock is no change of the subscription, so it does not count.
CREATE OR REPLACE FUNCTION stepwire_engine.count_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.description, NEW.status, NEW.product_id, NEW.customer_id, NEW.start_date,
        NEW.end_date, NEW.note) IS DISTINCT FROM
       (OLD.description, OLD.status, OLD.product_id, OLD.customer_id, OLD.start_date,
        OLD.end_date, OLD.note) THEN
        NEW.version := OLD.version + 1;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER subscriptions_count_version BEFORE UPDATE ON subscriptions
    FOR EACH ROW EXECUTE FUNCTION stepwire_engine.count_version();
"""


def upgrade() -> None:
    """Create everything; there is no older code to run beside it."""
    for block in (TABLES, SUBSCRIPTIONS):
        op.get_bind().exec_driver_sql(block)


# The table of revisions is in the same schema, and is still written afterwards.
REMOVE = """
DROP TRIGGER IF EXISTS subscriptions_guard_insync ON public.subscriptions;
DROP TRIGGER IF EXISTS subscriptions_count_version ON public.subscriptions;
DROP FUNCTION IF EXISTS stepwire_engine.guard_insync();
DROP FUNCTION IF EXISTS stepwire_engine.count_version();
DO $$
DECLARE found record;
BEGIN
    FOR found IN SELECT tablename FROM pg_tables
        WHERE schemaname = 'stepwire_engine' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('DROP TABLE stepwire_engine.%%I CASCADE', found.tablename);
    END LOOP;
END $$;
"""


def downgrade() -> None:
    """Remove the engine; subscriptions are the users' data and stay."""
    op.get_bind().exec_driver_sql(REMOVE)
