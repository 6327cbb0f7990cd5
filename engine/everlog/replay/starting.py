"""Starting: how a call in workflow code becomes a child, and its end the value or exception of the call."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from msgspec import json

from everlog.core import events
from everlog.core.codec import digest
from everlog.core.events import EndEvent
from everlog.core.failures import opened
from everlog.core.names import LONGEST, another_id
from everlog.core.versions import workflow_of
from everlog.errors import IdInUse, UsageError, WorkflowCancelled, WorkflowFailed
from everlog.replay.asking import coroutine_of, outcome_of, site
from everlog.replay.context import undoing
from everlog.replay.instances import recorded_instance, startable
from everlog.replay.operations import EndOperation, Site, StartOperation
from everlog.replay.origins import note_recorded
from everlog.replay.placing import check_placing
from everlog.replay.sizes import LARGE, check_size

if TYPE_CHECKING:
    from everlog.replay.definitions import AnyWorkflow
    from everlog.replay.execution import Execution


class Strangers:
    """What workflow code can have of workflows that it did not start: the shell says how, since it knows the store."""

    wait: Callable[[Execution, str], Coroutine[Any, Any, EndEvent]]
    """Gives what waits for the end of any workflow."""
    handle: Callable[[Execution, str, object], Any]
    """Makes the handle of a workflow, for workflow code."""
    blocking_handle: Callable[[Any], Any]
    """Makes of such a handle one for blocking code."""


strangers: Final = Strangers()


def start(
    execution: Execution, definition: AnyWorkflow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Coroutine[Any, Any, Any]:
    """Draw the operation of a start; awaiting it gives the handle of the child."""
    operation = _drawn(execution, definition, args, kwargs, None, is_call=False)

    async def perform() -> Any:
        child = await _started(execution, operation)
        return strangers.handle(execution, child, operation.definition.signature.result_type)

    return coroutine_of(execution, operation, perform(), "start")


def call_child(
    execution: Execution,
    definition: AnyWorkflow[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    called_at: Site | None = None,
) -> Coroutine[Any, Any, Any]:
    """Draw the operation of a call; awaiting it gives what the child returned, or raises what it raised.

    Who is cancelled here gives up the child: it is asked to stop, unless it is to be left when its parent ends.
    """
    operation = _drawn(execution, definition, args, kwargs, called_at, is_call=True)

    async def perform() -> Any:
        workflow_id = await _started(execution, operation)
        end = await _end_of(execution, workflow_id, operation)
        return value_of(execution, workflow_id, operation.definition.signature.result_type, end, is_call=True)

    return coroutine_of(execution, operation, perform(), definition.name)


def result_of(execution: Execution, workflow_id: str, declared: object) -> Coroutine[Any, Any, Any]:
    """Draw the wait for a result that is not a call; awaiting it gives or raises what `Handle.result` does."""
    child = execution.children.known.get(workflow_id)
    if child is None:
        return _result_of_stranger(execution, workflow_id, declared, strangers.wait(execution, workflow_id))
    if child.needs_our_slot and child.end is None:
        raise UsageError(would_never_end(execution.workflow_id, f"its child {workflow_id!r}", child.queue))
    operation = EndOperation(execution, execution.loop.branch().draw("result"), site(), child=child, is_call=False)

    async def perform() -> Any:
        end = await outcome_of(execution, operation)
        return value_of(execution, workflow_id, declared, end)

    return coroutine_of(execution, operation, perform(), "result")


def value_of(execution: Execution, workflow_id: str, declared: object, end: EndEvent, *, is_call: bool = False) -> Any:
    """Give the value that an end stands for, or raise: in a call the original, otherwise `WorkflowFailed` from it."""
    child = execution.children.known.get(workflow_id)
    heard_at = None if child is None else child.heard_at
    match end:
        case events.WorkflowCompleted():
            return execution.decode(bytes(end.result), declared, f"result of workflow {workflow_id!r}")
        case events.WorkflowCancelled():
            error = WorkflowCancelled(f"workflow {workflow_id!r} was cancelled" + (end.reason and f": {end.reason}"))
            note_recorded(execution, error, heard_at)
            raise error
        case events.WorkflowFailed():
            original = execution.raise_recorded(end.error, heard_at)
            if is_call:
                raise original
            failed = opened(end.error, execution.environment.codec)
            name = failed.type.rpartition(":")[2]
            raise WorkflowFailed(
                f"workflow {workflow_id!r} failed: {name}: {failed.message}", workflow_id=workflow_id, error=failed
            ) from original


async def _result_of_stranger(
    execution: Execution, workflow_id: str, declared: object, wait: Coroutine[Any, Any, EndEvent]
) -> Any:
    return value_of(execution, workflow_id, declared, await wait)


def _drawn(
    execution: Execution,
    definition: AnyWorkflow[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    called_at: Site | None,
    *,
    is_call: bool,
) -> StartOperation:
    check_passed(definition, args, kwargs)
    check_placing(definition.placing, definition.name)
    definition = startable(definition)
    codec, what = execution.environment.codec, f"input of workflow {definition.name}"
    encoded = definition.signature.encode(codec, args, kwargs, what=what)
    if len(encoded) >= LARGE:
        check_size(encoded, what, silent=execution.replaying)
    instance = recorded_instance(definition, codec)
    if definition.id == execution.workflow_id:
        raise IdInUse(f"{definition.id!r} is the id of this workflow itself; choose another for its child")
    branch, key = execution.loop.branch(), definition.key
    name = workflow_of(definition.name)  # another version of a child is no other operation
    identity = execution.draw_key(name, key) if key is not None else branch.draw(name)
    child = child_id(execution.workflow_id, identity)
    since = execution.children.void_starts.get(identity, execution.first_seq)
    return StartOperation(
        execution,
        identity,
        called_at or site(4),
        definition=definition,
        name=definition.name,
        child=definition.id or (child if since == 1 else another_id(child, since)),
        input=encoded,
        instance=instance,
        key=key,
        is_call=is_call,
        undoes=undoing.get(),
    )


def would_never_end(workflow_id: str, what: str, queue: str | None) -> str:
    """Say why something is not waited for that may wait for a slot which the waiting keeps."""
    return (
        f"workflow {workflow_id!r}, or one that waits for it, keeps a slot of queue {queue!r} until it ends, and "
        f"{what} needs another of them: waiting for it could take for ever. Give it another queue, or none; or do not "
        "wait for it here"
    )


def child_id(parent: str, operation: str) -> str:
    """Give the id of a child for which none was chosen: the same whenever the parent comes there."""
    made = f"{parent}/{operation}"
    return made if len(made) <= LONGEST else f"{parent[: LONGEST // 2]}.../{digest(json.encode(made))}"


def check_passed(definition: AnyWorkflow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse a start with a value that would not be recorded."""
    if definition.signature.unrecorded and (passed := definition.signature.passed_on(args, kwargs)):
        raise UsageError(
            f"workflow {definition.name} was started with a value for its unrecorded parameter "
            f"{next(iter(passed))!r}, which a process that goes on with it after a crash would not have; leave it out: "
            "it takes its default"
        )


async def _started(execution: Execution, operation: StartOperation) -> str:
    event = await outcome_of(execution, operation)
    if isinstance(event, events.StartFailed):
        raise execution.raise_recorded(event.error)
    started: str = event.child
    return started


async def _end_of(execution: Execution, workflow_id: str, operation: StartOperation) -> EndEvent:
    child = execution.children.known.get(workflow_id)
    if child is None:
        return await strangers.wait(execution, workflow_id)
    wait = EndOperation(execution, f"{operation.identity}/end", operation.called_at, child=child, is_call=True)
    end: EndEvent = await outcome_of(execution, wait)
    return end
