"""Stacks: where the tasks of a workflow stand while its code is suspended. They are looked at, never run."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, Final, TypeGuard

from everlog.replay.execution import Execution
from everlog.replay.operations import TimerOperation
from everlog.replay.places import is_of_users
from everlog.replay.tasks import OperationFuture, WorkflowTask

_SUSPENDED: Final[dict[type, tuple[str, str]]] = {
    CoroutineType: ("cr_frame", "cr_await"),
    AsyncGeneratorType: ("ag_frame", "ag_await"),
    GeneratorType: ("gi_frame", "gi_yieldfrom"),
}
"""By the types that code can be suspended in: where they have its frame, and what it awaits."""
_WRAPPERS: Final = ("coroutine_wrapper", "async_generator_asend", "async_generator_athrow")
"""Types of what stands between an `await` and what is awaited, and has no attribute that leads there."""


def stack_of(execution: Execution, task: WorkflowTask[Any]) -> list[FrameType]:
    """Give the frames of the user's code in a task that stands still, outermost first."""
    return [frame for frame in _frames(execution, task) if is_of_users(frame)]


def waits_for(execution: Execution, task: WorkflowTask[Any]) -> str:
    """Say which operation or tasks a task waits for; empty where that is something else of asyncio's."""
    waited: Any = _waited(task)
    if isinstance(waited, OperationFuture):
        return waited.operation.identity
    if _is_open_task(waited):
        return f"task {waited.number}"
    for operation in execution.operations.values():
        if isinstance(operation, TimerOperation) and waited in operation.handle.args:
            return operation.identity
    gathered: list[object] = getattr(waited, "_children", [])  # what `asyncio.gather` made
    return ", ".join(f"task {one.number}" for one in gathered if _is_open_task(one))


def _waited(task: WorkflowTask[Any]) -> object:
    return getattr(task, "_fut_waiter", None)  # `asyncio.Task` has no public name for what it waits for


def _is_open_task(one: object) -> TypeGuard[WorkflowTask[Any]]:
    return isinstance(one, WorkflowTask) and not one.done()


def _frames(execution: Execution, task: WorkflowTask[Any]) -> Iterator[FrameType]:
    for strand in execution.strands:
        if strand.task is task and strand.thread is not None:
            yield from _frames_of_thread(strand.thread)
            return
    yield from _frames_of_coroutine(task.get_coro())


def _frames_of_thread(thread: int) -> list[FrameType]:
    """Give the stack of a thread that stands still, outermost first."""
    frames: list[FrameType] = []
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]  # the documented way to another's stack
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def _frames_of_coroutine(awaited: object) -> Iterator[FrameType]:
    """Give the frames from a suspended coroutine down to what it waits for, outermost first."""
    seen: set[int] = set()
    while awaited is not None and id(awaited) not in seen:
        seen.add(id(awaited))
        frame, awaited = _inner(awaited)
        if frame is not None:
            yield frame


def _inner(awaited: object) -> tuple[FrameType | None, object]:
    """Give the frame of something that is awaited, and what it awaits itself."""
    if type(awaited) in _SUSPENDED:
        frame, inner = _SUSPENDED[type(awaited)]
        return getattr(awaited, frame), getattr(awaited, inner)
    if type(awaited).__name__ in _WRAPPERS:
        return None, next((one for one in gc.get_referents(awaited) if type(one) in _SUSPENDED), None)
    return None, None
