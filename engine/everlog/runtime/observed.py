"""Observed: a worker, a runner of steps and commits that tell what they do. What they do is as without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from everlog.core.codec import Codec
from everlog.host import Host
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.drafting import Draft
from everlog.replay.environment import StepEnd
from everlog.replay.inbox import Inbox
from everlog.replay.operations import StepOperation
from everlog.runtime.observers import Observer, Observers
from everlog.runtime.residents import History, Resident
from everlog.runtime.steps import Dispatch, Report, StepRunner
from everlog.runtime.tally import Tally
from everlog.runtime.worker import Worker
from everlog.store import Batch, BatchOutcome, Head


class ObservedWorker(Worker):
    """A worker that counts, and tells its observers."""

    def __init__(self, *args: Any, observers: Observers) -> None:
        self.tally = Tally()
        self._observers = observers
        super().__init__(*args)

    def adopt(
        self,
        workflow_id: str,
        token: str,
        history: History,
        inbox: Inbox,
        definition: AnyWorkflow[..., Any],
        head: Head | None = None,
        size: int = 0,
    ) -> None:
        self.tally.held(definition.name, history, head)
        if self._observers:
            self._observers.tell(Observer.held, workflow_id, history, head)
        super().adopt(workflow_id, token, history, inbox, definition, head, size)

    def running_attempts(self) -> int:
        """Say how many attempts were handed out and have not ended."""
        return len(self._steps.running)

    def let_go(self, resident: Resident) -> None:
        super().let_go(resident)
        if self._observers:
            self._observers.tell(Observer.let_go, resident)

    def _apply(self, resident: Resident, drafted: Draft) -> None:
        self.tally.committed(resident.execution, drafted.rows, drafted.recorded_at)
        if self._observers:
            self._observers.tell(Observer.committed, resident, drafted)
        super()._apply(resident, drafted)

    def _mark_stuck(self, workflow_id: str, token: str, seq: int, why: str) -> None:
        self.tally.stuck += 1
        super()._mark_stuck(workflow_id, token, seq, why)


class ObservedSteps(StepRunner):
    """A runner of steps that tells its observers of each attempt that begins, and of its end, once."""

    def __init__(
        self,
        host: Host,
        loop: asyncio.AbstractEventLoop,
        codec: Codec,
        clock: Callable[[], int],
        report: Report,
        observers: Observers,
    ) -> None:
        self._observers = observers
        self._begun: dict[Dispatch, None] = {}
        """Attempts that began, and of whose end nobody was told."""

        def reported(dispatch: Dispatch, end: StepEnd | None) -> None:
            self._ended(dispatch, end)
            report(dispatch, end)

        super().__init__(host, loop, codec, clock, reported)

    def run(self, dispatches: Sequence[Dispatch]) -> None:
        for dispatch in dispatches:
            self._observers.tell(Observer.dispatched, dispatch)
        super().run(dispatches)

    def drop(self, operations: Sequence[StepOperation]) -> None:
        in_processes = [self.running[one] for one in operations if one in self.running]
        super().drop(operations)
        for dispatch in in_processes:
            if dispatch.request is not None:  # its process is killed: nobody else tells of its end
                self._ended(dispatch, None)

    async def _attempt(self, dispatch: Dispatch) -> None:
        self._begins(dispatch)
        try:
            await super()._attempt(dispatch)
        finally:
            self._ended(dispatch, None)

    def _in_thread(self, dispatch: Dispatch, started_at: int) -> None:
        self._begins(dispatch)
        try:
            super()._in_thread(dispatch, started_at)
        finally:
            self._ended(dispatch, None)

    def _begin_in_process(self, dispatch: Dispatch) -> None:
        dispatch.operation.context.copy().run(self._begins, dispatch)
        super()._begin_in_process(dispatch)

    def _begins(self, dispatch: Dispatch) -> None:
        self._begun[dispatch] = None
        self._observers.tell(Observer.begins, dispatch)

    def _ended(self, dispatch: Dispatch, end: StepEnd | None) -> None:
        try:
            del self._begun[dispatch]  # by whichever thread comes first
        except KeyError:
            return
        self._observers.tell(Observer.ended, dispatch, end)


def measured(write: Callable[[Batch], BatchOutcome], host: Host, tally: Tally) -> Callable[[Batch], BatchOutcome]:
    """Give what writes a batch as before, and counts it."""

    def commit(batch: Batch) -> BatchOutcome:
        begun_at, done = host.monotonic(), False
        try:
            outcome = write(batch)
            done = True
            return outcome
        finally:
            tally.wrote(batch, host.monotonic() - begun_at, done=done)

    return commit
