"""Everything that is only ever added: log, notes, inputs, timers, events, positions."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text

from stepwire.process.decision import InputGiven, LogEntry, Note, Timer
from stepwire_coordinator.store.parts import Parts
from stepwire_coordinator.work import Origin, Position

STEPS_PART = """
INSERT INTO stepwire_engine.process_steps
    (process_id, seq, node, name, status, attempt, epoch, delta, error, started_at, completed_at,
     executor, created_by, code_version, body_hash)
SELECT g.process_id, g.seq, g.node, g.name, g.status, g.attempt, g.epoch,
    CAST(g.delta AS jsonb), CAST(g.error AS jsonb), g.started_at, g.completed_at,
    g.executor, g.created_by, g.code_version, g.body_hash
FROM unnest(
    CAST(:s_process AS uuid[]), CAST(:s_seq AS int4[]), CAST(:s_node AS text[]),
    CAST(:s_name AS text[]), CAST(:s_status AS text[]), CAST(:s_attempt AS int4[]),
    CAST(:s_epoch AS int4[]), CAST(:s_delta AS text[]), CAST(:s_error AS text[]),
    CAST(:s_started AS timestamptz[]), CAST(:s_completed AS timestamptz[]),
    CAST(:s_executor AS text[]), CAST(:s_by AS text[]), CAST(:s_code AS text[]),
    CAST(:s_hash AS bytea[]))
    AS g (process_id, seq, node, name, status, attempt, epoch, delta, error, started_at,
          completed_at, executor, created_by, code_version, body_hash)
"""
REPEATS_PART = """
UPDATE stepwire_engine.process_steps AS s
SET retries = retries + 1
FROM unnest(CAST(:r_process AS uuid[]), CAST(:r_seq AS int4[])) AS g (process_id, seq)
WHERE s.process_id = g.process_id AND s.seq = g.seq
"""
NOTES_PART = """
INSERT INTO stepwire_engine.process_notes (process_id, kind, body, created_by)
SELECT g.process_id, g.kind, CAST(g.body AS jsonb), g.by
FROM unnest(CAST(:n_process AS uuid[]), CAST(:n_kind AS text[]), CAST(:n_body AS text[]),
    CAST(:n_by AS text[])) AS g (process_id, kind, body, by)
"""
NOTE_COLUMN = text("""
UPDATE stepwire_engine.processes AS p SET note = nullif(g.note, '')
FROM unnest(CAST(:c_process AS uuid[]), CAST(:c_note AS text[])) AS g (process_id, note)
WHERE p.process_id = g.process_id
""")
INPUTS_PART = """
INSERT INTO stepwire_engine.process_inputs (process_id, seq, node, pages, given_by, command_id)
SELECT g.process_id, coalesce((SELECT max(i.seq) FROM stepwire_engine.process_inputs AS i
        WHERE i.process_id = g.process_id), 0) + 1,
    g.node, CAST(g.pages AS jsonb), g.by, g.command_id
FROM unnest(CAST(:i_process AS uuid[]), CAST(:i_node AS text[]), CAST(:i_pages AS text[]),
    CAST(:i_by AS text[]), CAST(:i_command AS text[]))
    AS g (process_id, node, pages, by, command_id)
"""
RELATIONS_PART = """
INSERT INTO stepwire_engine.process_subscriptions (process_id, subscription_id)
SELECT * FROM unnest(CAST(:p_process AS uuid[]), CAST(:p_subscription AS uuid[]))
ON CONFLICT DO NOTHING
"""
TIMERS_PART = """
INSERT INTO stepwire_engine.timers (process_id, kind, due_at, epoch)
SELECT * FROM unnest(CAST(:t_process AS uuid[]), CAST(:t_kind AS text[]),
    CAST(:t_due AS timestamptz[]), CAST(:t_epoch AS int4[]))
ON CONFLICT (process_id, kind) DO UPDATE SET due_at = EXCLUDED.due_at, epoch = EXCLUDED.epoch
"""
TIMERS_FIRED = text("""
DELETE FROM stepwire_engine.timers AS t
USING unnest(CAST(:processes AS uuid[]), CAST(:kinds AS text[]), CAST(:epochs AS int4[]))
    AS g (process_id, kind, epoch)
WHERE t.process_id = g.process_id AND t.kind = g.kind AND t.epoch = g.epoch
""")
OUTBOX_PART = """
INSERT INTO stepwire_engine.outbox (id, records) VALUES (CAST(:o_id AS uuid), CAST(:o_records AS bytea))
"""
POSITIONS_PART = """
INSERT INTO stepwire_engine.result_positions (topic_id, partition, topic, next_offset)
SELECT * FROM unnest(CAST(:q_ids AS text[]), CAST(:q_partitions AS int4[]),
    CAST(:q_topics AS text[]), CAST(:q_offsets AS int8[]))
ON CONFLICT (topic_id, partition) DO UPDATE
SET next_offset = greatest(EXCLUDED.next_offset, result_positions.next_offset),
    updated_at = clock_timestamp()
"""
ASIDE_PART = """
INSERT INTO stepwire_engine.set_aside
    (topic_id, partition, "offset", topic, process_id, kind, body)
SELECT * FROM unnest(CAST(:a_ids AS text[]), CAST(:a_partitions AS int4[]),
    CAST(:a_offsets AS int8[]), CAST(:a_topics AS text[]), CAST(:a_processes AS uuid[]),
    CAST(:a_kinds AS text[]), CAST(:a_bodies AS bytea[]))
ON CONFLICT DO NOTHING
"""
ASIDE_DONE_PART = """
DELETE FROM stepwire_engine.set_aside AS s
USING unnest(CAST(:d_ids AS text[]), CAST(:d_partitions AS int4[]), CAST(:d_offsets AS int8[]))
    AS g (topic_id, partition, "offset")
WHERE s.topic_id = g.topic_id AND s.partition = g.partition AND s."offset" = g."offset"
"""
ASIDE_OF = text("""
SELECT topic, topic_id, partition, "offset", body, kind, process_id
FROM stepwire_engine.set_aside WHERE process_id = ANY(CAST(:process_ids AS uuid[]))
ORDER BY topic_id, partition, "offset"
""")
REVOKE = text("""
UPDATE stepwire_engine.run_claims AS c SET revoked = true
FROM unnest(CAST(:processes AS uuid[]), CAST(:epochs AS int4[])) AS g (process_id, epoch)
WHERE c.process_id = g.process_id AND c.epoch < g.epoch AND NOT c.revoked
""")
NOTIFY_REVOKED = text("""
SELECT pg_notify('stepwire_revoked', p) FROM unnest(CAST(:payloads AS text[])) AS p
""")


class Aside(NamedTuple):
    """A record kept until its process can take it."""

    origin: Origin
    process_id: UUID
    kind: str


def add_steps(parts: Parts, rows: list[tuple[UUID, int, LogEntry]]) -> None:
    """Append to the logs."""
    if not rows:
        return
    entries = [entry for _, _, entry in rows]
    parts.add(
        "steps",
        STEPS_PART,
        {
            "s_process": [process_id for process_id, _, _ in rows],
            "s_seq": [seq for _, seq, _ in rows],
            "s_node": [e.node for e in entries],
            "s_name": [e.name for e in entries],
            "s_status": [e.status for e in entries],
            "s_attempt": [e.attempt for e in entries],
            "s_epoch": [e.epoch for e in entries],
            "s_delta": [_delta(e) for e in entries],
            "s_error": [_json(e.error) for e in entries],
            "s_started": [e.started_at for e in entries],
            "s_completed": [e.completed_at for e in entries],
            "s_executor": [e.executor for e in entries],
            "s_by": [e.created_by for e in entries],
            "s_code": [e.code_version for e in entries],
            "s_hash": [e.body_hash for e in entries],
        },
    )


def add_repeats(parts: Parts, rows: list[tuple[UUID, int]]) -> None:
    """Count identical failures up beside their fact."""
    if rows:
        values = {"r_process": [r[0] for r in rows], "r_seq": [r[1] for r in rows]}
        parts.add("repeats", REPEATS_PART, values)


def add_notes(parts: Parts, rows: list[tuple[UUID, Note]]) -> None:
    """Keep notes; an operator's last one is also shown with its process."""
    if not rows:
        return
    values = {
        "n_process": [process_id for process_id, _ in rows],
        "n_kind": [note.kind for _, note in rows],
        "n_body": [_json(note.body) for _, note in rows],
        "n_by": [note.created_by for _, note in rows],
    }
    parts.add("notes", NOTES_PART, values)


def operator_notes(rows: list[tuple[UUID, Note]]) -> dict[str, list[Any]] | None:
    """Parameters of `NOTE_COLUMN`, None where no operator wrote a note."""
    last = {process_id: note.body["note"] for process_id, note in rows if note.kind == "note"}
    return {"c_process": list(last), "c_note": list(last.values())} if last else None


def add_inputs(parts: Parts, rows: list[tuple[UUID, InputGiven]]) -> None:
    """Record who gave which pages when."""
    if not rows:
        return
    values = {
        "i_process": [process_id for process_id, _ in rows],
        "i_node": [given.node for _, given in rows],
        "i_pages": [_json(given.pages) for _, given in rows],
        "i_by": [given.given_by for _, given in rows],
        "i_command": [given.command_id for _, given in rows],
    }
    parts.add("inputs", INPUTS_PART, values)


def add_relations(parts: Parts, rows: list[tuple[UUID, UUID]]) -> None:
    """Relate processes with the subscriptions they work on."""
    unique = sorted(set(rows))
    if unique:
        values = {"p_process": [r[0] for r in unique], "p_subscription": [r[1] for r in unique]}
        parts.add("relations", RELATIONS_PART, values)


def add_timers(parts: Parts, rows: list[tuple[UUID, int, Timer]]) -> None:
    """Set timers; one of a kind per process, the last one counts."""
    last = {(process_id, timer.kind): (epoch, timer) for process_id, epoch, timer in rows}
    if not last:
        return
    values = {
        "t_process": [process_id for process_id, _ in last],
        "t_kind": [kind for _, kind in last],
        "t_due": [timer.due_at for _, timer in last.values()],
        "t_epoch": [epoch for epoch, _ in last.values()],
    }
    parts.add("timers", TIMERS_PART, values)


def add_outbox(parts: Parts, outbox_id: UUID, records: bytes) -> None:
    """Keep a batch's events until they are published."""
    parts.add("outbox", OUTBOX_PART, {"o_id": outbox_id, "o_records": records})


def add_positions(parts: Parts, positions: list[Position]) -> None:
    """Remember how far the topics are read, in the transaction that applied what was read."""
    if not positions:
        return
    ordered = sorted(positions)
    values = {
        "q_ids": [p.topic_id for p in ordered],
        "q_partitions": [p.partition for p in ordered],
        "q_topics": [p.topic for p in ordered],
        "q_offsets": [p.next_offset for p in ordered],
    }
    parts.add("positions", POSITIONS_PART, values)


def add_asides(parts: Parts, rows: list[Aside]) -> None:
    """Keep records whose process cannot take them now."""
    if not rows:
        return
    values = {
        "a_ids": [r.origin.topic_id for r in rows],
        "a_partitions": [r.origin.partition for r in rows],
        "a_offsets": [r.origin.offset for r in rows],
        "a_topics": [r.origin.topic for r in rows],
        "a_processes": [r.process_id for r in rows],
        "a_kinds": [r.kind for r in rows],
        "a_bodies": [r.origin.value for r in rows],
    }
    parts.add("aside", ASIDE_PART, values)


def remove_asides(parts: Parts, rows: list[Origin]) -> None:
    """Forget records that were taken after all."""
    if rows:
        values = {
            "d_ids": [r.topic_id for r in rows],
            "d_partitions": [r.partition for r in rows],
            "d_offsets": [r.offset for r in rows],
        }
        parts.add("aside_done", ASIDE_DONE_PART, values)


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _delta(entry: LogEntry) -> str | None:
    if entry.payload is not None:
        return orjson.dumps({"set": {}, "removed": [], "payload": entry.payload}).decode()
    if not entry.set and not entry.removed:
        return None
    return orjson.dumps({"set": entry.set, "removed": entry.removed}).decode()
