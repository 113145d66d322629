"""Starting processes from within a step."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from stepwire.contracts.commands import StartProcess, process_id_of
from stepwire.data import db
from stepwire.flow.arguments import unknown_argument
from stepwire.flow.context import current
from stepwire.flow.serialization import dump, load


def start_process(workflow: str, user_inputs: list[dict[str, Any]] | None = None, **fields: Any) -> UUID:
    """Start `workflow` when the running step commits, and return the id its process will have.

    The id follows from process, node, attempt and the number of this call within the step: a step that is repeated
    starts nothing twice. The process does not exist before the step has ended, so waiting for it inside the step
    never ends; where the engine is paused by then, it begins when the engine goes on. It works in a `def` and,
    without await, in an `async def`.

    Args:
        workflow: The name of the workflow.
        user_inputs: The pages of its form.
        fields: More fields of StartProcess, as `priority=5` or `labels={"order": "4711"}`.

    Raises:
        NotInStep: no step is running here.
        DefinitionError: there is no such field.
        SerializationError: a page holds what cannot be stored.
        pydantic.ValidationError: a field cannot be used.
    """
    step, transaction = current.context, db.transaction
    unknown = next((name for name in fields if name not in StartProcess.model_fields), None)
    if unknown is not None:
        raise unknown_argument("start_process()", unknown, list(StartProcess.model_fields))
    number = len(transaction.starts) + 1
    command = StartProcess(
        **{
            "command_id": f"{step.process_id}/{step.node}/{step.attempt}/{number}",
            "source": f"process {step.process_id}",
            "workflow": workflow,
            "user_inputs": load(dump(user_inputs or [], "user_inputs")),
            "reporter": step.reporter,
            "traceparent": step.traceparent,
            # Nobody is there to start it again when the engine runs.
            "hold": True,
            **fields,
        }
    )
    transaction.starts.append(command)
    return command.process_id or process_id_of(command.command_id)
