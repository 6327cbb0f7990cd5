"""Execution: one workflow in memory. It runs the code, checks the history against it, and delivers facts one by one.

Live and replay are the same function, `apply`: the only difference is where the row came from. A row is applied
after it is durable, in log order. What the code asks for collects here as operations; `drafting` turns what is ready
into the rows of the next commit. No store, no clock, no threads.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from functools import partial
from random import Random
from typing import Any, Final

from everlog.core import events
from everlog.core.codec import Mismatch
from everlog.core.durations import as_local
from everlog.core.events import TIMES, AnyEvent, EndEvent
from everlog.core.failures import Failure, describe, rebuild
from everlog.core.redacting import cannot_be_replayed
from everlog.core.rewinding import Lived
from everlog.errors import InternalError, PayloadUnavailable, StepInterrupted, WrongContext
from everlog.replay import asking
from everlog.replay.applying import APPLY, check_none_is_missing
from everlog.replay.branches import Branch, keyed
from everlog.replay.budgets import begin_again
from everlog.replay.children import Children
from everlog.replay.context import active
from everlog.replay.definitions import AnyWorkflow, SyncWorkflow
from everlog.replay.divergence import CannotGoOn, TornDown
from everlog.replay.endings import Carried, begin_deadline, finish, fork, rewind
from everlog.replay.environment import Environment, StepEnd
from everlog.replay.loop import TimerHandle, WorkflowLoop
from everlog.replay.operations import (
    AskingOperation,
    DeadlineOperation,
    EndOperation,
    KeyedOperation,
    Operation,
    Phase,
    ReplyOperation,
    SendOperation,
    StartOperation,
    StepOperation,
    TimerOperation,
    WaitOperation,
    Waits,
)
from everlog.replay.origins import note_handled, note_recorded
from everlog.replay.patches import Patches
from everlog.replay.publishing import Published
from everlog.replay.quarantine import SWALLOWED, keep_aside, refuse_operation
from everlog.replay.refusals import refuse_behind_workflows
from everlog.replay.requests import Requests
from everlog.replay.strands import Strand
from everlog.replay.tasks import OperationFuture, WorkflowTask
from everlog.replay.threads import refuse_own_threads
from everlog.replay.unreadable import cannot_read

log: Final = logging.getLogger("everlog")


class Execution:
    """One workflow in memory."""

    def __init__(  # long: all that one workflow in memory is made of
        self,
        workflow_id: str,
        created: events.WorkflowCreated,
        definition: AnyWorkflow[..., Any],
        environment: Environment,
        *,
        first_seq: int = 1,
    ) -> None:
        self.workflow_id = workflow_id
        self.created, self.place = created, created.place
        self.definition = definition
        self.environment = environment
        self.loop = WorkflowLoop(self, seed=created.seed)  # type: ignore[abstract]  # its refusals are set on the class by name
        self.first_seq = first_seq
        """The seq of the row that created it, or with which it continued as new: nothing before it is known here."""
        self.seq = first_seq - 1
        self.began_at = self._due_number = 0
        self.continued: events.WorkflowContinued | None = None
        """The row at `first_seq`, where it is not the first of all."""
        self.now = 0
        """Store time at which rows are being applied; log time where the row says nothing else."""
        self.began: events.WorkflowBegan | None = None
        self.replaying = self.paused = self.ending = self.torn_down = False
        self.broken: CannotGoOn | None = None
        self.cancel_request: events.CancelRequested | None = None
        self.cancel_requests: list[int] = []
        """The seqs of all requests."""
        self.attributes, self.given_deadline = created.attributes, created.deadline
        """The deadline of what started or reopened it."""
        self.deadline: DeadlineOperation | None = None
        self.gaps_until = 0
        """Up to this seq rows may be left out of the history: of a fork."""
        self.ordered_at = self.rewound_at = 0
        """When it was asked for that the workflow was last paused or resumed, and rewound: earlier orders are void."""
        self.carried: list[Carried] = []
        self.outcome: EndEvent | events.WorkflowContinued | None = None
        self.goes_on_as: AnyWorkflow[..., Any] | None = None
        """What the code continues as new as."""
        self.blocks: dict[object, asyncio.Task[Any] | None] = {}
        """The blocks of compensations that are open, and the tasks that opened them."""
        self.main: WorkflowTask[Any] | None = None
        self.operations: dict[str, Operation] = {}
        self.cancelled: dict[str, Operation] = {}
        """Cancelled by the code, but a row in the history or in flight still belongs to them."""
        self.unrecorded: dict[str, Operation] = {}
        self.called: dict[int, Operation] = {}
        self.steps: dict[str, StepOperation] = {}
        self.waits = Waits()
        self.due: list[tuple[int, int, Operation]] = []
        self.sends: list[AskingOperation] = []
        self.published, self.patches = Published(), Patches()
        self.ended_steps: list[tuple[StepOperation, StepEnd]] = []
        self.undispatched: list[StepOperation] = []
        self.dropped_steps: list[StepOperation] = []
        self.randoms: dict[str, Random] = {}
        self.children, self.requests = Children(), Requests()
        self.strands: dict[Strand, None] = {}
        """The threads that blocking code of this workflow holds, by their strands; most of them stand still."""
        self.running: Strand | None = None
        """The strand that runs while the thread that drains stands still: for whoever looks at slow drains."""
        self._keys_drawn: dict[str, int] = {}
        self._live_keys: dict[str, Operation] = {}

    @property
    def queue(self) -> str | None:
        """The queue that admitted it; `place` is where it stood there."""
        return None if self.place is None else self.place.queue

    @property
    def tick(self) -> datetime | None:
        """The time for which a schedule planned it, in the time zone of that."""
        tick = self.created.tick
        return None if tick is None else as_local(tick, self.created.tick_offset)

    # -- rows --------------------------------------------------------------------------------------------------------

    def replay(self, history: Sequence[tuple[int, int, AnyEvent]], *, starts_first: bool = False) -> None:
        """Apply a history of (seq, recorded_at, event), silently; then say what is to be done about open steps.

        With `starts_first`, a step that is open writes that it starts before it runs: so that its process is counted
        as lost, should that be what it does. Raises `CannotGoOn` where history and code part.
        """
        self.replaying = True
        lived = Lived(history)
        self.gaps_until = lived.gaps_until
        self.patches.foresee(lived.rows)
        try:
            for seq, recorded_at, event in lived.rows:
                self.apply_in(lived, seq, recorded_at, event)
        finally:
            self.replaying = False
        self.undispatched = [
            operation for operation in self.undispatched if operation.phase is Phase.OPEN and operation.retry_at is None
        ]
        self.may_repeat()
        for operation in self.steps.values():
            if operation.started_attempt == operation.attempt and operation.definition.at_most_once:
                operation.dispatched = True  # by a process that is gone: it is not to run again
                self.ended_steps.append((operation, self.interrupted(operation)))
            elif starts_first and operation.started_attempt != operation.attempt:
                operation.must_start = True

    def apply_in(self, lived: Lived, seq: int, recorded_at: int, event: AnyEvent) -> None:
        """Apply one row of a history, and what it makes of those before it. Some may be missing before it."""
        if isinstance(event, events.OpeningEvent):
            self.seq = seq
            if isinstance(event, events.WorkflowRewound):
                rewind(self, recorded_at, event, lived.void[seq])
            else:
                fork(self, event, lived.left_out[seq])
            return
        if seq <= self.gaps_until:
            self.seq = seq - 1
        self.apply(seq, recorded_at, event)

    def may_repeat(self) -> None:
        """Take note that the steps that are open may have run before, under another holder of the workflow."""
        for operation in self.steps.values():
            operation.repeats = True

    def apply(self, seq: int, recorded_at: int, event: AnyEvent) -> None:
        """Check one durable row against the code, deliver it if it is a fact, and drain."""
        if seq != self.seq + 1:
            raise InternalError(f"workflow {self.workflow_id!r}: seq {seq} applied after seq {self.seq}")
        self.seq = seq
        if event.redacted is not None:
            raise CannotGoOn(cannot_be_replayed(self.workflow_id, seq, event))
        if self.published.pending and seq > self.gaps_until:
            check_none_is_missing(self, recorded_at, event)
        kind, loop = type(event), self.loop
        if recorded_at > loop.log_time and kind in TIMES:
            loop.log_time = recorded_at
        APPLY[kind](self, event)
        if self.broken is not None:
            raise self.broken

    def begin(self, began: events.WorkflowBegan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Run the code to its first wait."""
        self.began = began
        self.began_at = self.loop.log_time if self.continued is None else self.continued.began_at
        begin_deadline(self)

        function: Any = self.definition.bare()
        is_blocking = isinstance(self.definition, SyncWorkflow)
        self.loop.interruptible = not is_blocking  # an interrupt could let two threads of a workflow run at once

        async def run() -> Any:
            if is_blocking:
                return await Strand(self, partial(function, *args, **kwargs)).run()
            return await function(*args, **kwargs)

        def start() -> None:
            self.main = main = self.loop.create_task(run(), name=self.definition.name)
            main.branch = self.loop.root

        self.drain(start)

    # -- operations --------------------------------------------------------------------------------------------------

    def issue(self, operation: Operation) -> OperationFuture:
        """Open an operation that the code awaits; give the future that its fact ends."""
        if self.torn_down or self.ending:
            self.called.pop(id(operation), None)
            refuse_operation(self)
            return OperationFuture(operation, loop=self.loop)  # which nothing will end
        if active.execution is not self:
            raise WrongContext(
                f"{operation.describe()} was called in workflow {self.workflow_id!r} and awaited outside of it; "
                "await it where it was called"
            )
        self.called.pop(id(operation), None)
        operation.coroutine = None
        if isinstance(operation, KeyedOperation) and operation.key is not None:
            self._take_key(operation, keyed(operation.name, operation.key))
        identity, loop = operation.identity, self.loop
        operation.phase = Phase.OPEN
        operation.issued_at = self.now
        operation.future = future = OperationFuture(operation, loop=loop)
        self.operations[identity] = operation
        loop.progress += 1
        if isinstance(operation, StepOperation):
            self.unrecorded[identity] = self.steps[identity] = operation
            operation.repeats = self.rewound_at > 0
            self.undispatched.append(operation)
        elif isinstance(operation, SendOperation | StartOperation | ReplyOperation):
            self.sends.append(operation)
        elif isinstance(operation, EndOperation):
            self.children.wait(self, operation)
        else:
            self.unrecorded[identity] = operation
            if isinstance(operation, WaitOperation):
                self.waits.add(operation)
                if operation.due_at is not None:
                    self.push_due(operation.due_at, operation)
        return future

    def ask(self, operation: SendOperation) -> None:
        """Open an operation that nobody awaits."""
        if not (self.torn_down or self.ending):
            operation.phase = Phase.OPEN
            operation.issued_at = self.now
            self.operations[operation.identity] = operation
            self.loop.progress += 1
            self.sends.append(operation)

    def draw_key(self, name: str, key: str) -> str:
        """Give the identity of an operation with a key; one that uses the key again is another operation."""
        drawn = keyed(name, key)
        self._keys_drawn[drawn] = number = self._keys_drawn.get(drawn, 0) + 1
        return keyed(name, key, number)

    def _take_key(self, operation: Operation, key: str) -> None:
        live = self._live_keys.get(key)
        if live is not None:
            raise WrongContext(
                f"two operations of workflow {self.workflow_id!r} that run at once have the same key: {key!r}; "
                "give each its own key"
            )
        self._live_keys[key] = operation

    def awaits_facts(self) -> bool:
        """Tell whether anything is open that a fact will end."""
        return bool(self.operations)

    def set_timer(self, due_at: int, handle: TimerHandle) -> None:
        """Open a timer operation that makes the handle ready when it fires."""
        if self.torn_down or self.ending:
            refuse_operation(self)
            return
        note_handled(self)
        identity = self.loop.branch().draw("timer")
        operation = TimerOperation(self, identity, None, due_at=due_at, handle=handle)
        handle.on_cancel = operation.cancel
        operation.phase = Phase.OPEN
        operation.issued_at = self.now
        self.operations[identity] = operation
        self.unrecorded[identity] = operation
        self.loop.progress += 1
        self.push_due(due_at, operation)

    def hand_back(self, operation: StepOperation) -> None:
        """Have an attempt that was cut short run again at the operation's `retry_at`."""
        if operation.phase is Phase.OPEN and operation.retry_at is not None:
            self.push_due(operation.retry_at, operation)

    def cancel_operation(self, operation: Operation) -> None:
        """Take note that the code no longer wants an operation."""
        if operation.phase not in (Phase.OPEN, Phase.CLOSING):
            return
        operation.phase = Phase.CANCELLED
        operation.future = None
        self.loop.progress += 1
        self.forget(operation)
        if isinstance(operation, EndOperation):
            if operation.is_call:
                self.children.give_up(self, operation.child)
            return
        self.cancelled[operation.identity] = operation
        if isinstance(operation, StepOperation) and operation.dispatched:
            self.dropped_steps.append(operation)

    def push_due(self, due_at: int, operation: Operation) -> None:
        """Have the operation looked at when log time reaches `due_at`."""
        if len(self.due) > 4 * len(self.operations) + 64:
            self.due = [entry for entry in self.due if entry[2].phase in (Phase.OPEN, Phase.CLOSING)]
            heapq.heapify(self.due)
        self._due_number += 1
        heapq.heappush(self.due, (due_at, self._due_number, operation))

    def opened(self, operation: Operation) -> None:
        """Take note that the history has a row that opens the operation."""
        operation.recorded = True
        self.unrecorded.pop(operation.identity, None)

    def forget(self, operation: Operation) -> None:
        """Take the operation from those that are open."""
        identity = operation.identity
        if self.operations.get(identity) is not operation:
            return
        del self.operations[identity]
        self.unrecorded.pop(identity, None)
        if isinstance(operation, StepOperation):
            self.steps.pop(identity, None)
            if operation.key is not None:
                self._live_keys.pop(keyed(operation.name, operation.key), None)
        elif isinstance(operation, WaitOperation):
            self.waits.forget(identity)
        elif isinstance(operation, StartOperation) and operation.key is not None:
            self._live_keys.pop(keyed(operation.name, operation.key), None)
        elif isinstance(operation, EndOperation):
            self.children.forget(operation)

    def open_now(self) -> str:
        """Say what is open, for a person."""
        shown = [f"{operation.identity}: {operation.told()}" for operation in self.operations.values()]
        more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
        return "open now: " + "; ".join(shown[:5]) + more if shown else ""

    def deliver(self, operation: Operation, event: AnyEvent, first: Callable[[], object] | None = None) -> None:
        """End the operation with its fact and drain; one that was cancelled has no use for it."""
        if operation.phase is Phase.CANCELLED:
            self.cancelled.pop(operation.identity, None)
            return
        operation.phase = Phase.ENDED
        self.forget(operation)
        self.loop.progress += 1
        self.drain(first or partial(operation.end, event))

    # -- draining ----------------------------------------------------------------------------------------------------

    def drain(self, first: Callable[[], object]) -> None:
        """Run `first` and all that becomes ready, as the code of this workflow."""
        outer, active.execution = active.execution, self
        try:
            self.loop.drain(first)
            if self.main is not None and self.main.done() and self.outcome is None and self.broken is None:
                finish(self, self.main)
        finally:
            active.execution = outer

    def cancel_leftovers(self) -> None:
        """Cancel what the code left behind, tasks and generators, and run what it does then."""
        leftovers = self.loop.unfinished_tasks()
        generators = self.loop.open_generators()
        if leftovers or generators:
            self.loop.drain(partial(self._cancel_all, leftovers, generators))

    def _cancel_all(self, tasks: Sequence[asyncio.Task[Any]], generators: Sequence[Any]) -> None:
        for task in tasks:
            task.cancel()
        for generator in generators:
            self.loop.create_task(generator.aclose())

    def report_never_awaited(self) -> None:
        """Close what was called and never awaited, and say so."""
        for operation in self.called.values():
            if operation.coroutine is not None:
                operation.coroutine.close()
            if not self.replaying:
                log.warning(
                    "workflow %r called %s at %s and never awaited it, so it was not run",
                    self.workflow_id,
                    operation.describe(),
                    operation.place(),
                )
        self.called.clear()

    def tear_down(self) -> None:
        """Drop the workflow from memory: its tasks are cancelled, nothing that it does then is recorded."""
        if self.torn_down:
            return
        self.torn_down = self.replaying = True
        begin_again(self.loop)
        outer, active.execution = active.execution, self
        try:
            for _ in range(SWALLOWED):
                self.cancel_leftovers()
                if not self.loop.unfinished_tasks() and not self.loop.open_generators():
                    self.main = None
                    self.loop.let_go()
                    return
                if self.loop.interrupted:
                    break
        finally:
            active.execution = outer
            for operation in self.called.values():
                if operation.coroutine is not None:
                    operation.coroutine.close()
        keep_aside(self)

    def was_touched(self, why: str) -> None:
        """Have the workflow stuck at its next row: what it waits for was changed, and will never wake it."""
        if self.broken is None and not self.torn_down:
            self.broken = CannotGoOn(why)

    def report(self, context: dict[str, Any]) -> None:
        """Log an exception that no code of the workflow can see, unless it happens again in a replay."""
        error = context.get("exception")
        if isinstance(error, TornDown | CannotGoOn) or self.replaying or self.torn_down:
            return
        log.error("workflow %r: %s", self.workflow_id, context.get("message"), exc_info=error)

    # -- what is asked with ------------------------------------------------------------------------------------------

    def call_in_thread(self, function: Callable[..., object], args: tuple[Any, ...]) -> Coroutine[Any, Any, Any]:
        """Give the operation for what `asyncio.to_thread(step, ...)` handed over; refuse anything else."""
        return asking.to_thread(self, function, args)

    def random_of(self, branch: Branch) -> Random:
        """Give the stream of chance of a branch, seeded by the recorded seed and the branch's path."""
        stream = self.randoms.get(branch.path)
        if stream is None:
            stream = self.randoms[branch.path] = Random(f"{self.created.seed}:{branch.path}")
        return stream

    def raise_recorded(self, failure: Failure, seq: int | None = None) -> BaseException:
        """Give the exception that a recorded failure stands for: of the fact being delivered, or that of a seq."""
        try:
            error = rebuild(failure, self.environment.codec, may_import=self.environment.may_import)
        except PayloadUnavailable as unavailable:
            raise cannot_read(self, unavailable) from unavailable
        note_recorded(self, error, seq)
        return error

    def decode(self, payload: bytes, declared: object, what: str) -> Any:
        """Rebuild a recorded value; a value that no longer fits its type makes the workflow stuck."""
        try:
            return self.environment.codec.decode(payload, declared, what=what)
        except (Mismatch, PayloadUnavailable) as error:
            raise cannot_read(self, error) from error

    def interrupted(self, operation: StepOperation) -> StepEnd:
        """Give the end of an attempt that may run only once and was cut short."""
        error = StepInterrupted(
            f"step {operation.name!r} of workflow {self.workflow_id!r} had begun attempt {operation.attempt} when its "
            "process ended, and runs at most once: whether its effect happened is unknown"
        )
        return StepEnd(started_at=self.now, failure=describe(error, self.environment.codec, traceback=False))


refuse_behind_workflows()
refuse_own_threads()
