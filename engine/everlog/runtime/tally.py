"""Tally: counts what an engine does, on its thread and without locks. It says nothing to anybody until it is asked."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from everlog.core.durations import SECOND
from everlog.core.events import (
    AnyEvent,
    EndEvent,
    StepAttemptFailed,
    StepCancelled,
    StepCompleted,
    StepFailed,
    WorkflowBegan,
    WorkflowCompleted,
    WorkflowContinued,
    WorkflowCreated,
    WorkflowFailed,
)
from everlog.replay.execution import Execution
from everlog.runtime.metrics import Histogram
from everlog.runtime.residents import History
from everlog.store import Batch, Head

OTHER: Final = "(other)"
MOST_NAMES: Final = 500
"""So many names are told apart: whoever makes names of data would fill the memory of all who collect the numbers."""
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
PARTS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
INFINITE: Final = float("inf")


class Distribution:
    """How often something was how large."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def told(self) -> Histogram:
        """Give what was counted so far."""
        buckets: dict[float, int] = {}
        so_far = 0
        for bound, count in zip((*self._bounds, INFINITE), self._counts, strict=True):
            so_far += count
            buckets[bound] = so_far
        return Histogram(buckets=buckets, count=so_far, sum=self._sum)


class StepTally:
    """The attempts of one step."""

    __slots__ = ("ended", "seconds")

    def __init__(self) -> None:
        self.ended: dict[str, int] = {}
        self.seconds = Distribution(SECONDS)


class Tally:
    """What an engine did since it was opened."""

    def __init__(self) -> None:
        self.began: dict[str, int] = {}
        self.ended: dict[str, dict[str, int]] = {}
        self.steps: dict[str, StepTally] = {}
        self.stuck = self.takeovers = self.commits = self.commit_failures = self.events = 0
        self.commit_seconds = Distribution(SECONDS)
        self.commit_parts = Distribution(PARTS)

    def held(self, name: str, history: History, head: Head | None) -> None:
        """Count a workflow that comes into memory; without a head it was just created, or continues, here."""
        if head is None:
            if type(history[0][2]) is WorkflowCreated and type(history[-1][2]) is WorkflowBegan:
                self._began(name)
        elif head.takeovers and head.state == "running":
            self.takeovers += 1

    def committed(self, execution: Execution, rows: Sequence[AnyEvent], recorded_at: int) -> None:
        """Count what these rows of a workflow say, which are durable now and not yet applied to it."""
        for event in rows:
            if isinstance(event, StepCompleted):
                self._attempt(event.step, "completed", recorded_at - event.started_at)
            elif isinstance(event, StepAttemptFailed):
                self._attempt(event.step, "retried", recorded_at - event.started_at)
            elif isinstance(event, StepFailed):
                self._attempt(event.step, "failed", recorded_at - event.started_at)
            elif isinstance(event, StepCancelled):
                self._cancelled(execution, event)
            elif isinstance(event, EndEvent):
                self._ended(execution.definition.name, event)
            elif isinstance(event, WorkflowContinued):
                return  # what follows it is no new workflow
            elif isinstance(event, WorkflowBegan) and execution.continued is None:
                self._began(execution.definition.name)

    def wrote(self, batch: Batch, seconds: float, *, done: bool) -> None:
        """Count a transaction, written or not."""
        if not done:
            self.commit_failures += 1
            return
        self.commits += 1
        self.commit_seconds.add(seconds)
        self.commit_parts.add(len(batch.commits) + len(batch.creates) + len(batch.posts))
        for part in batch.commits:
            self.events += len(part.events)
        for new in batch.creates:
            self.events += len(new.events)

    def _attempt(self, step: str, outcome: str, took: int) -> None:
        tally = self.steps.get(step) or self._step(step)
        tally.ended[outcome] = tally.ended.get(outcome, 0) + 1
        tally.seconds.add(took / SECOND)

    def _step(self, name: str) -> StepTally:
        tally = self.steps.get(name)
        if tally is None:
            if len(self.steps) >= MOST_NAMES:
                name = OTHER
            tally = self.steps.setdefault(name, StepTally())
        return tally

    def _cancelled(self, execution: Execution, event: StepCancelled) -> None:
        operation = execution.cancelled.get(event.operation) or execution.operations.get(event.operation)
        step = getattr(operation, "name", None)
        if isinstance(step, str):
            ended = self._step(step).ended
            ended["cancelled"] = ended.get("cancelled", 0) + 1

    def _began(self, name: str) -> None:
        known = name if name in self.began or len(self.began) < MOST_NAMES else OTHER
        self.began[known] = self.began.get(known, 0) + 1

    def _ended(self, name: str, event: EndEvent) -> None:
        known = name if name in self.ended or len(self.ended) < MOST_NAMES else OTHER
        states = self.ended.setdefault(known, {})
        state = _state_of(event)
        states[state] = states.get(state, 0) + 1


def _state_of(event: EndEvent) -> str:
    if isinstance(event, WorkflowCompleted):
        return "completed"
    return "failed" if isinstance(event, WorkflowFailed) else "cancelled"
