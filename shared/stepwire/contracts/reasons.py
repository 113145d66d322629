"""Reason codes of refusals, as senders and HTTP clients see them."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a command was refused."""

    MALFORMED = "malformed"
    UNKNOWN_TYPE = "unknown_type"
    COMMAND_ID_REUSED = "command_id_reused"
    PROCESS_EXISTS = "process_exists"
    UNKNOWN_WORKFLOW = "unknown_workflow"
    INVALID_INPUT = "invalid_input"
    NOT_ALLOWED = "not_allowed"
    PREDICATE_FAILED = "predicate_failed"
    ENGINE_PAUSED = "engine_paused"
    SUBSCRIPTION_LOCKED = "subscription_locked"
    NOT_IN_SYNC = "subscription.not_in_sync"
    WRONG_STATUS = "wrong_status"
    UNKNOWN_PROCESS = "unknown_process"
    STALE_VERSION = "stale_version"
    TOO_LARGE = "too_large"
    NO_EXECUTOR = "no_executor"


class DeadLetter(StrEnum):
    """The word in a dead letter's `x-error` header."""

    MALFORMED = "malformed"
    UNKNOWN_TYPE = "unknown_type"
    WRONG_TOKEN = "wrong_token"  # noqa: S105 - a word for a refused token, no secret
    AWAIT_OVER = "await_over"
    DIFFERENT_BODY = "different_body"
    UNKNOWN_PROCESS = "unknown_process"
    TOO_LARGE = "too_large"
    NOT_APPLICABLE = "not_applicable"
