"""Code state: what the code of a workflow was doing when an event was the last: a picture of it as plain data."""

from __future__ import annotations

import linecache
import reprlib
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Final

import msgspec

from everlog.core.durations import as_datetime
from everlog.core.event_codec import type_of
from everlog.replay.operations import Operation, TimerOperation, WaitOperation
from everlog.replay.tasks import WorkflowTask
from everlog.runtime.replaying import Replay
from everlog.runtime.stacks import stack_of, waits_for

Redact = Callable[[str, object], object]
"""Given the name and value of a variable, gives what is shown in its place: the value itself where it may be seen.

It is asked about pending operations as well, by their identity and their text, which has the recorded input.
"""

LONGEST: Final = 200
"""Characters of a value that are shown."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One function of the user's that has not returned."""

    file: str
    line: int
    """Where it waits, or has called the next one."""
    function: str
    source: str
    """The text of that line; empty where the file is not here."""
    variables: dict[str, str]
    """The local variables, as `repr` shows them, cut to 200 characters."""


class TaskState(msgspec.Struct, frozen=True, kw_only=True):
    """One task that is not done, or one branch of blocking code."""

    number: int
    """Of its creation."""
    name: str
    waits_for: str
    """The operation or the tasks for which it waits; empty where that is something else of asyncio's."""
    stack: list[Frame]
    """Outermost first."""


class PendingOperation(msgspec.Struct, frozen=True, kw_only=True):
    """What the code has asked for and not had yet."""

    operation: str
    """Its identity, as in the history."""
    kind: str
    what: str
    place: str
    """File and line of the call, where they are known."""
    due_at: str | None
    """The time at which it ends by itself."""


class CodeState(msgspec.Struct, frozen=True, kw_only=True):
    """What the code of a workflow was doing when an event was the last of its history. `str` of it is for people."""

    workflow_id: str
    name: str
    seq: int
    type: str
    """The type of that event."""
    recorded_at: str
    tasks: list[TaskState]
    """Oldest first: the first is that of the workflow function. Empty before the code begins, and once it has ended."""
    pending: list[PendingOperation]
    ended: str | None
    """How the code ended, where it has."""
    stuck: str | None
    """Why the code could not go on at this event, where that is so: it is not the code that made this history."""

    def __str__(self) -> str:
        """Give it as lines for people."""
        return "\n".join(_lines(self))


def code_state(replay: Replay, *, redact: Redact | None = None) -> CodeState:
    """Give what the code of a replay is doing now. `redact` may replace values before they are shown; see `Redact`."""
    execution = replay.execution
    seq, recorded_at, event = replay.rows[0]
    for row in replay.rows:
        if row[0] <= replay.seq:
            seq, recorded_at, event = row
    stuck = replay.stuck
    outcome = execution.outcome
    return CodeState(
        workflow_id=execution.workflow_id,
        name=execution.definition.name,
        seq=seq,
        type=type_of(event),
        recorded_at=as_datetime(recorded_at).isoformat(timespec="microseconds"),
        tasks=[_task(replay, task, redact) for task in execution.loop.unfinished_tasks()],
        pending=[_pending(operation, redact) for operation in execution.operations.values()],
        ended=None if outcome is None else type_of(outcome),
        stuck=None if stuck is None else stuck.why,
    )


def _task(replay: Replay, task: WorkflowTask[Any], redact: Redact | None) -> TaskState:
    execution = replay.execution
    stack = [_frame(frame, redact) for frame in stack_of(execution, task)]
    return TaskState(number=task.number, name=task.get_name(), waits_for=waits_for(execution, task), stack=stack)


def _frame(frame: FrameType, redact: Redact | None) -> Frame:
    code = frame.f_code
    variables = {
        name: shown(name, value, redact) for name, value in list(frame.f_locals.items()) if not name.startswith("__")
    }
    return Frame(
        file=code.co_filename,
        line=frame.f_lineno,
        function=code.co_qualname,
        source=linecache.getline(code.co_filename, frame.f_lineno, frame.f_globals).strip(),
        variables=variables,
    )


def shown(name: str, value: object, redact: Redact | None) -> str:
    """Give a variable as it may be shown. What the hook or a `__repr__` raises ends nothing and shows no value."""
    try:
        given = value if redact is None else redact(name, value)
    except Exception as error:  # noqa: BLE001 - a hook that fails hides the value
        return f"<hidden: redact raised {type(error).__name__}>"
    try:
        text = _repr.repr(given)
    except Exception as error:  # noqa: BLE001 - the user's own `__repr__`
        return f"<{type(given).__name__}: its repr raised {type(error).__name__}>"
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


class _Told(str):
    """A text that is shown as it is, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


_repr: Final = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = LONGEST
_repr.maxlist = _repr.maxtuple = _repr.maxdict = _repr.maxset = _repr.maxfrozenset = 20


def _pending(operation: Operation, redact: Redact | None) -> PendingOperation:
    told: object = "timer" if isinstance(operation, TimerOperation) else operation.describe()
    if redact is not None:
        told = shown(operation.identity, told, lambda name, value: _Told(str(redact(name, value))))
    due_at = operation.due_at if isinstance(operation, TimerOperation | WaitOperation) else None
    return PendingOperation(
        operation=operation.identity,
        kind=operation.kind,
        what=str(told),
        place="" if operation.called_at is None else operation.place(),
        due_at=None if due_at is None else as_datetime(due_at).isoformat(timespec="microseconds"),
    )


# -- for people -------------------------------------------------------------------------------------------------------


def _lines(state: CodeState) -> list[str]:
    lines = [f"{state.workflow_id} ({state.name}) at event {state.seq}, {state.type}, recorded at {state.recorded_at}"]
    if state.stuck is not None:
        lines += ["", "The code that is here cannot go on at this event:", *_indented(state.stuck.splitlines(), "  ")]
    if state.ended is not None:
        lines += ["", f"The code has ended: {state.ended}"]
    elif not state.tasks and state.stuck is None:
        lines += ["", "The code has not begun."]
    for task in state.tasks:
        waits = f", waits for {task.waits_for}" if task.waits_for else ""
        lines += ["", f"task {task.number}, {task.name}{waits}", *_indented(_stack(task.stack), "  ")]
    if state.pending:
        lines += ["", "pending"]
    for one in state.pending:
        due = f", due at {one.due_at}" if one.due_at is not None else ""
        place = f" at {one.place}" if one.place else ""
        lines.append(f"  {one.operation}: {one.what}{due}{place}")
    return lines


def _stack(stack: Sequence[Frame]) -> list[str]:
    lines: list[str] = []
    for frame in stack:
        lines.append(f"{frame.file}:{frame.line} in {frame.function}")
        if frame.source:
            lines.append(f"    {frame.source}")
        lines += [f"      {name} = {value}" for name, value in frame.variables.items()]
    return lines or ["(no code of yours)"]


def _indented(lines: Sequence[str], by: str) -> list[str]:
    return [f"{by}{line}" for line in lines]
