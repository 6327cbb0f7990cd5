"""Continuing: how workflow code goes on as new, with a history that begins anew. It drafts nothing.

`continue_as_new` raises through the code, as an error would: so `finally` blocks run, and what they ask for is done.
Where that leaves the workflow's own function the code has ended, and what it left behind is cancelled as at any end. In
the place of the end stands `workflow_continued`, which is to what follows what `workflow_created` was to what went
before. A cancellation that comes in between finds nothing that has begun: the workflow is cancelled there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw, json, structs

from everlog.core.asks import AGAIN, ANSWER, REPLY
from everlog.core.codec import digest
from everlog.core.event_parts import CarriedChild, CarriedMessage
from everlog.core.events import WorkflowContinued, WorkflowCreated
from everlog.core.heads import InboxRow
from everlog.core.names import CHILD_ENDED
from everlog.errors import UsageError, WrongContext
from everlog.replay.context import active
from everlog.replay.divergence import TornDown
from everlog.replay.instances import recorded_instance, startable
from everlog.replay.operations import Phase
from everlog.replay.quarantine import refuse_operation
from everlog.replay.registry import registered_workflows
from everlog.replay.sizes import LARGE, check_size
from everlog.replay.starting import check_passed

if TYPE_CHECKING:
    from everlog.replay.children import Child
    from everlog.replay.definitions import AnyWorkflow
    from everlog.replay.execution import Execution


class Continuing(BaseException):
    """The workflow continues as new. Not for workflow code to catch."""

    def __init__(self, definition: AnyWorkflow[..., Any], created: WorkflowCreated) -> None:
        super().__init__(f"the workflow continues as new, as {definition.name!r}")
        self.definition = definition
        self.created = created


def continuing(
    execution: Execution, definition: AnyWorkflow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Continuing:
    """Give what is to be raised where workflow code continues as new; refuse it where it could not be."""
    if execution.torn_down or execution.ending:
        refuse_operation(execution)
        raise TornDown
    task = current_task(execution)
    if task is not execution.main:
        raise WrongContext(
            "continue_as_new ends the code of the whole workflow, so it is called by the workflow's own function, not "
            "in a task or branch of it: return there what is to become of the workflow, await that, and call it then"
        )
    if any(opened_by is task for opened_by in execution.blocks.values()):
        raise WrongContext(
            "continue_as_new in a block of compensations: what the block has done could not be undone any more; leave "
            "the block first, and call it then"
        )
    if definition.id not in (None, execution.workflow_id) or definition.key is not None:
        raise UsageError(
            f"a workflow that continues as new keeps its id, here {execution.workflow_id!r}; leave out id= and key=, "
            "or start another workflow"
        )
    known = registered_workflows().get(definition.name)
    if known is not None and definition.attributes != known.attributes:
        raise UsageError(
            f"workflow {execution.workflow_id!r} keeps its attributes when it continues as new; leave out attributes=, "
            "and change them by the handle of an engine: await handle.update(attributes=...)"
        )
    return Continuing(definition, _creation(execution, startable(definition), args, kwargs))


def _creation(
    execution: Execution, definition: AnyWorkflow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> WorkflowCreated:
    check_passed(definition, args, kwargs)
    codec, what = execution.environment.codec, f"input of workflow {definition.name}"
    encoded = definition.signature.encode(codec, args, kwargs, what=what)
    if len(encoded) >= LARGE:
        check_size(encoded, what, silent=execution.replaying)
    return structs.replace(
        execution.created,
        name=definition.name,
        input=Raw(encoded),
        instance=recorded_instance(definition, codec),
        seed=digest(json.encode(f"{execution.created.seed}/continued")),
    )


def current_task(execution: Execution) -> asyncio.Task[Any] | None:
    """Give the task whose code runs here, also where it is blocking code."""
    return asyncio.current_task(execution.loop) if active.strand is None else active.strand.task


def continuing_in(error: BaseException | None) -> Continuing | None:
    """Give what the code ended with if it continues as new; groups of tasks put it in an exception group."""
    while isinstance(error, BaseExceptionGroup):
        parts: Sequence[BaseException] = vars(BaseExceptionGroup)["exceptions"].__get__(error)
        if len(parts) != 1:
            return None
        error = parts[0]
    return error if isinstance(error, Continuing) else None


def continued(execution: Execution, continuing: Continuing) -> WorkflowContinued:
    """Give the event that is to stand in the place of the end; what it carries is added when it is drafted."""
    execution.goes_on_as = continuing.definition
    return WorkflowContinued(created=continuing.created, began_at=execution.began_at)


def carrying(execution: Execution, event: WorkflowContinued, returned: Sequence[InboxRow]) -> WorkflowContinued:
    """Give the event with all that is known here and is not in the store: `returned` are messages of no inbox."""
    deadline, children, told = execution.deadline, execution.children, execution.requests.told
    kept = [row for row in returned if not row.topic.startswith(_NOT_CARRIED)]
    is_open = deadline is not None and deadline.phase is Phase.OPEN
    ended = {row.source for row in returned if row.topic == CHILD_ENDED}  # who asks for these finds them in the store
    return structs.replace(
        event,
        created=structs.replace(
            event.created,
            deadline=deadline.due_at if deadline is not None and is_open else None,
            attributes=dict(execution.attributes),
            place=execution.place,
            begins_at=None,
        ),
        inherited=deadline is not None and is_open and deadline.inherited,
        children=tuple(_carried(child) for child in children.open.values() if child.id not in ended),
        messages=tuple(
            CarriedMessage(
                source=row.source,
                number=row.number,
                topic=row.topic,
                arrived_at=row.arrived_at,
                message=Raw(row.payload),
            )
            for row in kept
        ),
        told=tuple((row.source, row.number) for row in kept if (row.source, row.number) in told),
        closed=tuple(sorted(execution.published.closed)),
    )


_NOT_CARRIED: Final = (CHILD_ENDED, REPLY, ANSWER, AGAIN)
"""Messages for what is over: an end that is looked for again, and what was for just one wait."""


def _carried(child: Child) -> CarriedChild:
    return CarriedChild(
        child=child.id,
        operation=child.operation,
        name=child.name,
        since=child.since,
        when_parent_ends=child.when_parent_ends,
        asked=child.asked or child.is_to_be_asked(),
        ends_after=child.ends_after,
        queue=child.queue,
        needs_our_slot=child.needs_our_slot,
    )


def take_up(execution: Execution, event: WorkflowContinued) -> None:
    """Begin with what the event carries."""
    execution.continued = event
    for child in event.children:
        execution.children.carried(child)
    execution.requests.told.update(event.told)
    execution.published.closed.update(event.closed)
    execution.published.sealed.update(event.closed)
    execution.published.suffix = f"~{execution.seq}"
