"""Dispatches: the attempts that came of the drains of a round, until they are begun together; and their ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from everlog.core.durations import SECOND
from everlog.core.versions import version_of
from everlog.replay.attempts import Attempt
from everlog.replay.drafting import take_dispatches
from everlog.replay.operations import Phase
from everlog.runtime.residents import Resident
from everlog.runtime.slots import Slots
from everlog.runtime.steps import Dispatch
from everlog.store import Store

HAND_BACK_PAUSE: Final = SECOND


class Dispatches:
    """What is to be begun."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._gathered: list[Dispatch] = []

    def gather(self, resident: Resident) -> None:
        """Add the attempts of a workflow that may run now; those with a limit wait for their slots first."""
        self._slots.gather(resident)
        execution, outlet = resident.execution, resident.outlet
        name, began_at = execution.definition.name, execution.began_at
        deadline = None if execution.deadline is None else execution.deadline.due_at
        version = version_of(execution.created.name)
        for one in take_dispatches(execution):
            attempt = Attempt(
                resident.workflow_id,
                one.name,
                one.identity,
                one.key,
                one.attempt,
                name,
                began_at,
                deadline,
                execution.tick,
                outlet,
                one.repeats,
                queue=execution.queue,
                version=version,
                attributes=execution.attributes,
                parent=execution.created.parent,
            )
            self._gathered.append(Dispatch(resident, one, attempt))

    def take(self) -> list[Dispatch]:
        """Give those that are still wanted, and forget them."""
        if not self._gathered:
            return []
        gathered, self._gathered = self._gathered, []
        return [one for one in gathered if not one.resident.lost and one.operation.phase is Phase.OPEN]


def given_back(dispatches: Iterable[Dispatch]) -> Iterator[Resident]:
    """Have attempts that were not begun gathered again some time; give their workflows."""
    for dispatch in dispatches:
        dispatch.operation.dispatched = False
        dispatch.resident.execution.undispatched.append(dispatch.operation)
        yield dispatch.resident


def take_back(dispatch: Dispatch, store: Store, *, draining: bool) -> None:
    """Have an attempt that was cut short run again in a while; or, where it may run only once, have that drafted."""
    execution, operation = dispatch.resident.execution, dispatch.operation
    operation.dispatched = False
    operation.cut_short += 1
    if operation.definition.at_most_once and not dispatch.refused and not draining:
        execution.ended_steps.append((operation, execution.interrupted(operation)))
    elif not draining:
        operation.retry_at = store.now() + HAND_BACK_PAUSE
        execution.hand_back(operation)
