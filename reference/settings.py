"""The page about settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic.fields import FieldInfo

from reference.markdown import code, table
from stepwire.chassis.settings import PREFIX, SECRETS, Settings, shown

_INTRODUCTION = """# Settings

Settings are environment variables. They may also stand in a file that `STEPWIRE_ENV_FILE` names, one `NAME=value` a
line; the environment wins. A setting can be read from a file of its own: `STEPWIRE_DATABASE_URL_FILE=/run/secrets/url`.
Lists are separated by commas. [`stepwire settings`](cli.md) prints what is in force and where each value comes from;
secrets are hidden.

"""

MEANINGS: Mapping[str, str] = {
    "database_url": "PostgreSQL, 16 or newer.",
    "kafka_bootstrap": "Apache Kafka: `host:port`, several separated by commas.",
    "workflows": "Packages or modules that hold your workflows. Read by executors and `stepwire dev`.",
    "queues": "The queues whose steps an executor takes.",
    "gateway_host": "The address the gateway listens on.",
    "gateway_port": "Its port; 0 takes a free one and logs it.",
    "gateway_url": "Where the [command line](cli.md) finds a gateway, if not at host and port above.",
    "metrics_host": "The address of health and metrics of coordinator and executor.",
    "metrics_port": "Its port; 0 takes a free one and logs it.",
    "database_pool_size": "Connections a process may open: 10, for an executor its threads + 16.",
    "callback_secrets": "What callback routes are signed with, newest first. Required outside `stepwire dev`.",
    "public_url": "Put before callback routes, as in `https://stepwire.example.net`. Without it routes are paths.",
    "topic_prefix": "Put before the names of all topics and consumer groups.",
    "topic_partitions": "Partitions of a topic that is created.",
    "topic_replication": "Replicas of a topic that is created: 3, or as many as there are brokers.",
    "max_message_bytes": "The largest record a topic takes, in bytes.",
    "executor_max_runs": "How many processes an executor runs at the same time.",
    "executor_threads": "How many `def` steps an executor runs at the same time.",
    "executor_beat_seconds": "How often an executor says that it lives.",
    "executor_lease_seconds": "How long it may be silent before its runs are given to others.",
    "fallback_after_seconds": "After how long a run that nobody took by Kafka is taken from PostgreSQL.",
    "stranded_after_seconds": "After how long a process fails whose code no executor has any more, while other code "
    "of its workflow runs.",
    "run_budget_seconds": "How long an executor goes on with one process before others get a turn.",
    "step_timeout_seconds": "How long a step may take that names no timeout.",
    "retrystep_delay_seconds": "The first pause of a `retrystep` that names no policy.",
    "retrystep_factor": "By how much each further pause of it is longer.",
    "retrystep_max_delay_seconds": "Its longest pause.",
    "retention_days_commands": "How long answers to commands are remembered.",
    "retention_days_events_outbox": "How long an event waits at most to be published.",
    "retention_days_claims": "How long claims and outcomes are kept after a process has ended.",
    "retention_days_notes": "How long the engine's own notes (late results) are kept.",
    "retention_days_tasks": "How long completed tasks are kept, with their logs.",
    "state_max_bytes": "The largest State of a process, as JSON.",
    "inline_state_bytes": "A State up to this size travels with the run; a larger one is read from PostgreSQL.",
    "body_max_bytes": "The largest body of an HTTP request.",
    "form_timeout_seconds": "How long the gateway waits for an executor to look at a form.",
    "accept_wait_seconds": "How long the gateway waits for the answer to a command before it says 202.",
    "batch_max_records": "How many records the coordinator puts into one transaction.",
    "prometheus": "Whether `/metrics` is served.",
    "tracing": "Whether spans are exported by OTLP; on where `OTEL_EXPORTER_OTLP_ENDPOINT` is set.",
    "log_level": "`DEBUG`, `INFO`, `WARNING` or `ERROR`.",
    "log_format": "`console` or `json`; without it console on a terminal, else JSON.",
    "migrations": "The package whose folder `versions` holds the migrations of your own tables.",
    "testing": "Allows failpoints. Never set it in production.",
    "failpoints": "Where a service pauses or dies, for tests of crashes.",
}


def page() -> str:
    """All settings, from the class that reads them."""
    return _INTRODUCTION + table(("Setting", "Default", "Meaning"), _rows())


def meaning(name: str, field: FieldInfo) -> str:
    """What a setting is for; empty where nobody has said it."""
    return MEANINGS.get(name) or field.description or ""


def _rows() -> Iterator[tuple[str, str, str]]:
    for name, field in Settings.model_fields.items():
        default = "" if name in SECRETS else shown(name, field.get_default(call_default_factory=True))
        yield f'<span id="{name}"></span>`{PREFIX}{name.upper()}`', code(default), meaning(name, field)
