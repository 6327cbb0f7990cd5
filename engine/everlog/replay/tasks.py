"""Tasks and futures that hash by a per-workflow creation number, so that sets of them iterate alike everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from everlog.replay.branches import Branch, TaskBranch

if TYPE_CHECKING:
    from everlog.replay.loop import WorkflowLoop
    from everlog.replay.operations import Operation

T = TypeVar("T")


class WorkflowFuture(asyncio.Future[T]):
    """A future of a workflow loop."""

    def __init__(self, *, loop: WorkflowLoop) -> None:
        self.number = loop.next_number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class OperationFuture(WorkflowFuture[Any]):
    """The future that an operation ends. Cancelling it cancels the operation."""

    def __init__(self, operation: Operation, *, loop: WorkflowLoop) -> None:
        super().__init__(loop=loop)
        self.operation = operation

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the operation at once, not when its task next runs."""
        cancelled = super().cancel(msg)
        if cancelled:
            self.operation.cancel()
        return cancelled


class WorkflowTask(asyncio.Task[T]):
    """A task of a workflow loop, and the branch of what it asks for.

    The branch is named after the task, or else after its coroutine. Python 3.11 names tasks after creating them,
    later versions while creating them; both give the same branch.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        loop: WorkflowLoop,
        parent: Branch,
        name: str | None,
        context: Context | None,
    ) -> None:
        self.number = loop.next_task_number()
        self._hash = loop.salt + self.number
        self.own_branch = TaskBranch(parent, name or str(getattr(coroutine, "__name__", type(coroutine).__name__)))
        self._cancels = 0
        self.refusals = 0
        """How often it asked for something while it was torn down."""
        super().__init__(coroutine, loop=loop, name=name or f"Task-{self.number}", context=context)

    def __hash__(self) -> int:
        return self._hash

    def set_name(self, value: object, /) -> None:
        """Rename the task; its branch follows while nothing was asked for in it."""
        super().set_name(value)
        self.own_branch.rename(str(value))

    # Versions differ in whether the last `uncancel` also takes back a cancellation that the task has not seen yet; here
    # it never does.
    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the task, and count that."""
        if not self.done():
            self._cancels += 1
        return super().cancel(msg)

    def cancelling(self) -> int:
        """Give the number of cancellations that were not taken back."""
        return self._cancels

    def uncancel(self) -> int:
        """Take one cancellation back; give the number of those that are left."""
        self._cancels = max(0, self._cancels - 1)
        return self._cancels

    @property
    def branch(self) -> Branch:
        """The innermost branch that is open in this task."""
        return self.own_branch.innermost

    @branch.setter
    def branch(self, branch: Branch) -> None:
        self.own_branch.innermost = branch
