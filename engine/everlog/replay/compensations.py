"""Compensations: what undoes a part of a workflow, run in reverse where that part does not succeed. They keep no log.

What is to be undone is kept in memory only, as a replay adds it again; what runs are steps and children, which are
recorded. They run in a task of their own, so that no cancellation reaches them: whoever waits for them goes on waiting,
and is cancelled after.
"""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, final

from everlog.errors import WrongContext
from everlog.replay import asking, calling, starting
from everlog.replay.context import active, undoing
from everlog.replay.continuing import current_task
from everlog.replay.definition import Definition
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.divergence import CannotGoOn
from everlog.replay.execution import Execution
from everlog.replay.operations import Site
from everlog.replay.origins import note_arisen, note_undone

P = ParamSpec("P")
log: Final = logging.getLogger("everlog")
TASK: Final = "compensations"
"""The name of the branch in which they run. Part of the log's format."""


class Undone:
    """What a block has added, and the running of it."""

    def __init__(self, what: str, execution: Execution) -> None:
        self._what = what
        self._execution = execution
        self._is_open, self._opened_at = False, 0
        self._added: list[tuple[Definition[..., Any], tuple[Any, ...], dict[str, Any], Site | None]] = []

    def open(self) -> None:
        """Begin to take what is added."""
        if self._opened_at:
            raise WrongContext(f"{self._what}: this one has had its block; call {self._what} again for another")
        self._is_open, self._opened_at = True, self._execution.seq
        self._execution.blocks[self] = current_task(self._execution)

    def close(self, error: BaseException | None) -> bool:
        """Take nothing more; tell whether the block left something that is to be undone."""
        self._is_open = False
        self._execution.blocks.pop(self, None)
        return error is not None and self._is_wanted(error)

    def add(self, fn: Definition[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep a call; it fails here and now if it could not be made."""
        execution = self._execution
        if not self._is_open or active.execution is not execution:
            raise WrongContext(f"undo.add works inside the block of {self._what}, in the workflow that opened it")
        called = calling.callable_of(fn, "undo.add")
        if isinstance(called, AnyWorkflow):
            starting.check_passed(called, args, kwargs)
        what = f"input of {calling.kind_of(called)} {called.name}"
        called.signature.encode(execution.environment.codec, args, kwargs, what=what)
        self._added.append((called, args, kwargs, asking.site(2)))

    def _is_wanted(self, error: BaseException) -> bool:
        execution = self._execution
        if execution.torn_down or isinstance(error, GeneratorExit | CannotGoOn):  # it has only gone away
            return False
        note_arisen(execution, error)
        if self._added and execution.ending:
            log.warning(
                "workflow %r ended while a block of %s was open in another task; what it had done was not undone: "
                "await that task before the end",
                execution.workflow_id,
                self._what,
            )
        if not self._added or execution.ending:
            return False
        note_undone(execution, error, self._opened_at)
        return True

    async def run(self, error: BaseException) -> None:
        """Undo all, the last first. Raises a cancellation that came meanwhile, unless `error` is one."""
        execution = self._execution
        task = execution.loop.create_task(self._run(execution, error), name=TASK)
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as cancellation:
                if execution.torn_down or execution.ending:
                    raise
                cancelled = cancellation
        task.result()
        if cancelled is not None and not isinstance(error, asyncio.CancelledError):
            raise cancelled

    async def _run(self, execution: Execution, error: BaseException) -> None:
        undoing.set(True)
        while self._added:
            called, args, kwargs, called_at = self._added.pop()
            try:
                await calling.call(execution, called, "undo.add", args, kwargs, called_at)
            except (Exception, asyncio.CancelledError) as failure:
                if execution.torn_down or execution.ending:
                    raise
                self._report(execution, called, failure, error)

    def _report(
        self, execution: Execution, called: Definition[..., Any], failure: BaseException, error: BaseException
    ) -> None:
        told = f"the compensation {called.name} failed: {type(failure).__name__}: {failure}"
        error.add_note(told)
        if not execution.replaying:
            log.error("workflow %r: %s", execution.workflow_id, told)


@final
class Compensations:
    """What `everlog.compensations()` gives: `async with everlog.compensations() as undo`."""

    def __init__(self, execution: Execution) -> None:
        self._undone = Undone("everlog.compensations()", execution)

    async def __aenter__(self) -> Self:
        self._undone.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._undone.close(error) and error is not None:
            await self._undone.run(error)

    def add(self, fn: Definition[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Have this step or workflow called with these arguments if the block raises or is cancelled.

        What was added last is called first. Raises `NotEncodable` for arguments that cannot be recorded.
        """
        self._undone.add(fn, args, kwargs)


@final
class SyncCompensations:
    """What `sync.compensations()` gives: `with sync.compensations() as undo`."""

    def __init__(self, execution: Execution) -> None:
        self._undone = Undone("sync.compensations()", execution)

    def __enter__(self) -> Self:
        self._undone.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        strand = active.strand
        if self._undone.close(error) and error is not None and strand is not None:
            strand.ask(self._undone.run(error))

    def add(self, fn: Definition[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Have this step or workflow called with these arguments if the block raises or is cancelled.

        What was added last is called first. Raises `NotEncodable` for arguments that cannot be recorded.
        """
        self._undone.add(fn, args, kwargs)
