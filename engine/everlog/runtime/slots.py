"""Slots: the attempts of steps with a limit, which wait for a slot of a queue before they begin. It begins none.

All that wait are asked for in one call; a slot goes back when its attempt has ended, or nobody wants it any more.
"""

from __future__ import annotations

from collections.abc import Sequence

from everlog.core.failures import describe
from everlog.core.queues import SlotWanted
from everlog.errors import EverlogError, NotFound, UsageError
from everlog.host import Host
from everlog.replay.environment import StepEnd
from everlog.replay.operations import Phase, StepOperation
from everlog.replay.queues import Queue
from everlog.replay.starting import would_never_end
from everlog.runtime.queue_book import QueueBook, unknown_queue
from everlog.runtime.residents import NEVER, Resident


class Slots:
    """The slots of queues that the steps of one worker wait for, and have."""

    def __init__(self, book: QueueBook, host: Host) -> None:
        self._book = book
        self._host = host
        self._waiting: dict[StepOperation, tuple[Resident, str]] = {}
        """With the slot that each asks for, by a name that was made before the first try."""
        self._of: dict[Resident, dict[StepOperation, None]] = {}
        """The attempts of each workflow that wait for a slot, or have one."""
        self._to_free: list[str] = []
        self.wanted = False
        """Whether something may have changed since the store was last asked."""
        self._next_due: float = NEVER

    def gather(self, resident: Resident) -> None:
        """Have the attempts of a workflow that may run now wait for their slots; forget those that are cancelled."""
        for operation in resident.execution.undispatched:
            if operation.definition.limit is None:
                continue
            if operation.phase is not Phase.OPEN:
                self.ended(resident, operation)
            elif operation.slot is None and operation not in self._waiting:
                self._waiting[operation] = (resident, self._host.token())
                self._of.setdefault(resident, {})[operation] = None
                self.wanted = True

    def ended(self, resident: Resident, operation: StepOperation) -> None:
        """Have the slot of an attempt go back that has ended, or is not wanted any more."""
        if operation.definition.limit is None:
            return
        waiting = self._waiting.pop(operation, None)
        # What was asked for may have been taken, and the answer lost.
        slot, operation.slot = operation.slot or (waiting and waiting[1]), None
        if slot:
            self._to_free.append(slot)
            self.wanted = True
        self._of.get(resident, {}).pop(operation, None)

    def let_go(self, resident: Resident) -> None:
        """Have all slots of a workflow go back that is dropped from memory."""
        for operation in list(self._of.pop(resident, ())):
            self.ended(resident, operation)

    def next_due(self) -> float:
        """Give the store time at which the passing of time may free another slot."""
        return self._next_due if self._waiting else NEVER

    def is_due(self, now: float) -> bool:
        """Tell whether the store is to be asked, or told."""
        return bool(self._to_free) or bool(self._waiting and (self.wanted or now >= self._next_due))

    def look(self, worker: str, now: int) -> list[Resident]:
        """Give back what is not wanted, and take what can be had; give the workflows for which that changed something.

        Raises `StoreError`.
        """
        if self._to_free:
            self._book.store().free_slots(worker, self._to_free)
            self._to_free = []
        changed, wanted = self._wanted(now)
        self.wanted, self._next_due = False, NEVER
        if wanted:
            changed += self._take(worker, wanted)
        return changed

    def _wanted(self, now: int) -> tuple[list[Resident], list[StepOperation]]:
        """Give the workflows of attempts that can never have a slot, and end now, and the attempts that ask for one."""
        ended: list[Resident] = []
        wanted: list[StepOperation] = []
        for operation, (resident, _) in list(self._waiting.items()):
            error = self._why_not(operation, resident)
            if error is None:
                wanted.append(operation)
                continue
            del self._waiting[operation], self._of[resident][operation]
            failure = describe(error, resident.execution.environment.codec, traceback=False)
            resident.execution.ended_steps.append((operation, StepEnd(started_at=now, failure=failure)))
            ended.append(resident)
        return ended, wanted

    def _why_not(self, operation: StepOperation, resident: Resident) -> EverlogError | None:
        limit = operation.definition.limit
        if limit is None:
            return None
        try:
            row = self._book.use(limit)
        except UsageError as error:
            return error
        name = name_of(limit)
        if row is None:
            return NotFound(unknown_queue(name))
        if resident.execution.queue == name and row.limits.concurrency is not None:
            return UsageError(would_never_end(resident.workflow_id, f"its step {operation.name!r}", name))
        return None

    def _take(self, worker: str, wanted: Sequence[StepOperation]) -> list[Resident]:
        asked = [SlotWanted(slot=self._waiting[one][1], queue=name_of(one.definition.limit)) for one in wanted]
        try:
            answer = self._book.store().take_slots(worker, asked)
        except NotFound:  # deleted since it was looked for
            self._book.read()
            self.wanted = True
            return []
        except BaseException:
            self.wanted = True
            raise
        self._next_due = NEVER if answer.next_due is None else answer.next_due
        changed: list[Resident] = []
        for operation, is_taken in zip(wanted, answer.taken, strict=True):
            if is_taken:
                resident, operation.slot = self._waiting.pop(operation)
                changed.append(resident)
        return changed


def name_of(queue: Queue | str | None) -> str:
    """Give the name of a queue; without one there is none."""
    return queue.name if isinstance(queue, Queue) else queue or ""
