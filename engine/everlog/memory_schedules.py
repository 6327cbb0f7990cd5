"""The schedules of the memory store: rows that are replaced on the condition of their revisions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from everlog import store
from everlog.store_schedules import DueSchedules, ScheduleRow, ScheduleWrite


class MemorySchedules:
    """The part of `MemoryStore` that keeps schedules; the rest of it has the lock, and creates workflows."""

    _writes: int

    def __init__(self) -> None:
        self._schedules: dict[str, ScheduleRow] = {}

    def _locked(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _writing(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _create(self, new: store.NewWorkflow) -> store.CreateOutcome:
        raise NotImplementedError

    def _wake_others(self) -> None:
        raise NotImplementedError

    def schedules(
        self, names: Sequence[str] | None = None, *, after: str | None = None, limit: int = 100
    ) -> Sequence[ScheduleRow]:
        with self._locked():
            chosen = sorted(self._schedules if names is None else self._schedules.keys() & set(names))
            return [self._schedules[name] for name in chosen if after is None or name > after][:limit]

    def due_schedules(self, workflows: Sequence[str], *, now: int, limit: int) -> DueSchedules:
        with self._locked():
            ticking = [
                (row.due_at, name, row)
                for name, row in self._schedules.items()
                if row.due_at is not None and row.workflow in workflows
            ]
        due = [row for due_at, _, row in sorted(ticking, key=lambda entry: entry[:2]) if due_at <= now]
        rest = [due_at for due_at, _, _ in ticking if due_at > now]
        return DueSchedules(rows=due[:limit], next_due=min(rest, default=None))

    def write_schedules(self, writes: Sequence[ScheduleWrite]) -> Sequence[store.Done | store.Refused]:
        """Write schedules, each with what it creates, where their revisions are still there."""
        store.check_batch(store.Batch(creates=[new for write in writes for new in write.creates]))
        with self._writing():
            outcomes = [self._write_schedule(write) for write in writes]
        self._wake_others()
        return outcomes

    def _write_schedule(self, write: ScheduleWrite) -> store.Done | store.Refused:
        found = self._schedules.get(write.name)
        if (None if found is None else found.revision) != write.revision:
            return store.Refused()
        if write.row is not None:
            self._schedules[write.name] = write.row
        else:
            self._schedules.pop(write.name, None)
        for new in write.creates:
            self._create(new)
        self._writes += 1
        return store.Done()
