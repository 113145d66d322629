"""What is published after a commit: runs first, then events that are kept, then the live feed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import orjson

from stepwire.chassis.dead_letters import dead_letter
from stepwire.chassis.kafka import Outgoing
from stepwire.contracts import topics
from stepwire.contracts.base import new_id
from stepwire.contracts.events import (
    COMMAND_ACCEPTED,
    COMMAND_REJECTED,
    STEP_COMPLETED,
    SUBSCRIPTION_UNLOCKED,
    cloud_event,
)
from stepwire_coordinator.ledger import FinalAnswer
from stepwire_coordinator.packing import pack
from stepwire_coordinator.store.processes import Loaded, executed_prefix
from stepwire_coordinator.traces import Traces
from stepwire_coordinator.transaction import Transaction
from stepwire_coordinator.work import Origin

SOURCE = "stepwire/coordinator"


@dataclass(slots=True)
class Publication:
    """Records to publish; `kept` ones are in the outbox until Kafka has acknowledged them.

    `dead` ones are read again from Kafka if they are not published; `letters` say which of the
    kept records are dead letters, whose own record is no longer to be read anywhere.
    """

    runs: list[Outgoing] = field(default_factory=list)
    kept: list[Outgoing] = field(default_factory=list)
    feed: list[Outgoing] = field(default_factory=list)
    replies: list[Outgoing] = field(default_factory=list)
    dead: list[tuple[Origin, str]] = field(default_factory=list)
    letters: list[tuple[Origin, str]] = field(default_factory=list)
    answer_ids: dict[str, UUID] = field(default_factory=dict)
    outbox_id: UUID | None = None
    outbox_records: bytes = b""


def publish_all(tx: Transaction, pages: dict[str, dict[str, Any]]) -> Publication:
    """Prepare everything this transaction publishes once it is committed."""
    publication = Publication(dead=tx.ledger.dead, letters=tx.ledger.letters)
    traces = Traces(tx)
    publication.runs = [_run(tx, row, pages, traces) for row in tx.ledger.rows.values() if row.dispatched]
    for given in tx.ledger.answers:
        _add_answer(tx, publication, given, traces)
    _add_events(tx, publication, traces)
    _add_unlocked(tx, publication, traces)
    _add_feed(tx, publication, traces)
    _add_letters(tx, publication)
    if publication.kept:
        publication.outbox_id = uuid4()
        publication.outbox_records = pack((*publication.kept, *publication.replies))
    return publication


def answer_data(given: FinalAnswer) -> dict[str, Any]:
    """The `data` of an answer."""
    answer = given.answer
    data: dict[str, Any] = {"command_id": answer.command_id}
    if given.process_id is not None:
        data["process_id"] = str(given.process_id)
    if answer.count is not None:
        data["count"] = answer.count
    if answer.accepted:
        return data
    data |= {"reason": str(answer.reason), "detail": answer.detail}
    if answer.errors:
        data["errors"] = list(answer.errors)
    if answer.holder is not None:
        data["holder"] = str(answer.holder)
    return data


def _run(tx: Transaction, row: Loaded, pages: dict[str, dict[str, Any]], traces: Traces) -> Outgoing:
    settings, process = tx.surroundings.settings, row.process
    given = pages.get(process.command_to_check or "", {})
    snapshot = row.snapshot or b"{}"
    inline = len(snapshot) <= settings.inline_state_bytes
    record = {
        "type": "RunSteps",
        "id": new_id(),
        "time": tx.now,
        "source": SOURCE,
        "process_id": str(process.id),
        "epoch": process.epoch,
        "workflow": process.workflow,
        "manifest": process.manifest.hash,
        "prefix": executed_prefix(process),
        "node": process.node,
        "attempt": process.attempt,
        "queue": process.queue,
        "state": orjson.Fragment(snapshot) if inline else None,
        "user_inputs": given.get("user_inputs"),
        "user": given.get("user") or given.get("reporter") or given.get("source"),
        "reporter": process.reporter,
        "granted": process.granted,
        "alone": process.alone,
    }
    topic = settings.topic(topics.step_commands(process.queue))
    return Outgoing(topic, orjson.dumps(record), str(process.id).encode(), traces[process.id])


def _add_answer(tx: Transaction, publication: Publication, given: FinalAnswer, traces: Traces) -> None:
    answer = given.answer
    event_type = COMMAND_ACCEPTED if answer.accepted else COMMAND_REJECTED
    event_id = given.event_id or uuid4()
    publication.answer_ids[answer.command_id] = event_id
    subject = str(given.process_id or answer.command_id)
    value = orjson.dumps(cloud_event(event_type, str(event_id), subject, tx.now, answer_data(given)))
    settings = tx.surroundings.settings
    topic = settings.topic(topics.PROCESS_EVENTS)
    headers = traces.of_answer(given)
    publication.kept.append(Outgoing(topic, value, subject.encode(), headers))
    if given.reply_to and not topics.is_ours(given.reply_to.removeprefix(settings.topic_prefix)):
        publication.replies.append(Outgoing(given.reply_to, value, subject.encode(), headers))


def _add_events(tx: Transaction, publication: Publication, traces: Traces) -> None:
    topic = tx.surroundings.settings.topic(topics.PROCESS_EVENTS)
    for event in tx.ledger.events:
        subject = str(event.process_id)
        emission = event.emission
        value = cloud_event(
            emission.type,
            new_id(),
            subject,
            tx.now,
            emission.data,
            sequence=event.sequence,
        )
        publication.kept.append(Outgoing(topic, orjson.dumps(value), subject.encode(), traces[event.process_id]))


def _add_unlocked(tx: Transaction, publication: Publication, traces: Traces) -> None:
    """Subscriptions brought back in sync by hand: of no process, so without a sequence."""
    topic = tx.surroundings.settings.topic(topics.PROCESS_EVENTS)
    for subscription_id in tx.ledger.unlocked:
        subject = str(subscription_id)
        value = cloud_event(SUBSCRIPTION_UNLOCKED, new_id(), subject, tx.now, {"subscription_id": subject})
        publication.kept.append(Outgoing(topic, orjson.dumps(value), subject.encode(), traces[subscription_id]))


def _add_feed(tx: Transaction, publication: Publication, traces: Traces) -> None:
    topic = tx.surroundings.settings.topic(topics.PROCESS_EVENTS)
    for process_id, _, entry in tx.ledger.entries:
        subject = str(process_id)
        data = {
            "process_id": subject,
            "node": entry.node,
            "name": entry.name,
            "status": entry.status,
            "attempt": entry.attempt,
            "started_at": entry.started_at,
            "completed_at": entry.completed_at,
        }
        value = cloud_event(STEP_COMPLETED, new_id(), subject, tx.now, data)
        publication.feed.append(Outgoing(topic, orjson.dumps(value), subject.encode(), traces[process_id]))


def _add_letters(tx: Transaction, publication: Publication) -> None:
    limit = tx.surroundings.settings.max_message_bytes
    publication.kept += [dead_letter(origin, error, max_message_bytes=limit) for origin, error in publication.letters]
