"""Topic names, and which of them are ours alone."""

from __future__ import annotations

PROCESS_COMMANDS = "process.commands"
STEP_COMMANDS = "step.commands"
STEP_RESULTS = "step.results"
CALLBACKS = "callbacks"
PROCESS_EVENTS = "process.events"
FORMS_REQUESTS = "forms.requests"
FORMS_REPLIES = "forms.replies"

DEFAULT_QUEUE = "default"

ALL = (
    PROCESS_COMMANDS,
    STEP_COMMANDS,
    STEP_RESULTS,
    CALLBACKS,
    PROCESS_EVENTS,
    FORMS_REQUESTS,
    FORMS_REPLIES,
)


def step_commands(queue: str) -> str:
    """Topic that carries the runs of `queue`; the default queue has the bare name."""
    return STEP_COMMANDS if queue == DEFAULT_QUEUE else f"{STEP_COMMANDS}.{queue}"


def forms_requests(queue: str) -> str:
    """Topic that carries form requests for executors serving `queue`."""
    return FORMS_REQUESTS if queue == DEFAULT_QUEUE else f"{FORMS_REQUESTS}.{queue}"


def dead_letters(topic: str) -> str:
    """Topic that keeps what could not be read from `topic`."""
    return f"{topic}.dlq"


def is_ours(topic: str) -> bool:
    """Whether `topic` belongs to the engine, so that no answer may be published to it."""
    base = topic.removesuffix(".dlq")
    return base in ALL or base.startswith((f"{STEP_COMMANDS}.", f"{FORMS_REQUESTS}."))
