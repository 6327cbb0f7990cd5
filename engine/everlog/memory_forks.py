"""The forks of the memory store: histories that begin as others do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from msgspec.structs import replace

from everlog import store
from everlog.memory_workflows import Workflow
from everlog.store_forks import Fork, ForkOutcome, check_fork


class MemoryForks:
    """The part of `MemoryStore` that copies histories; the rest of it has the lock, and creates workflows."""

    _workflows: dict[str, Workflow]
    _last_row: int

    def _locked(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _create(self, new: store.NewWorkflow) -> store.CreateOutcome:
        raise NotImplementedError

    def _move(self, workflow: Workflow, head: store.Head) -> None:
        raise NotImplementedError

    def _wake_others(self) -> None:
        raise NotImplementedError

    def fork(self, fork: Fork) -> ForkOutcome:
        """Create a workflow with the first rows of another."""
        check_fork(fork)
        with self._locked():
            outcome = self._fork(fork)
        self._wake_others()
        return outcome

    def _fork(self, fork: Fork) -> ForkOutcome:
        source, new = self._workflows.get(fork.source), fork.new
        if new.workflow_id in self._workflows:
            return store.Exists(head=self._workflows[new.workflow_id].head)
        for index, one in enumerate(fork.creates):
            if one.workflow_id in self._workflows:
                return store.ChildExists(index=index, head=self._workflows[one.workflow_id].head)
        if source is None or source.head.seq < fork.until:
            return store.Refused()
        for one in (new, *fork.creates):
            self._create(one)
        workflow = self._workflows[new.workflow_id]
        rows = {event.seq: event for event in [*source.events[: fork.until], *new.events]}
        workflow.events = [rows[seq] for seq in sorted(rows)]
        head = replace(workflow.head, seq=workflow.events[-1].seq, first_seq=fork.first_seq)
        self._move(workflow, head)
        for message in fork.inbox:
            self._last_row += 1
            workflow.inbox[self._last_row] = replace(message, row=self._last_row, destination=new.workflow_id)
            workflow.senders.add((message.source, message.number))
        workflow.values = {value.name: value for value in fork.values}
        workflow.streams = _streams(source, fork)
        return store.Done()

    def read_types(
        self, workflow_id: str, types: Sequence[str], *, after: int = 0, until: int | None = None
    ) -> Sequence[store.EventRow]:
        with self._locked():
            workflow = self._workflows.get(workflow_id)
            rows = [] if workflow is None else workflow.events[after:until]
            return [row for row in rows if row.type in types]


def _streams(source: Workflow, fork: Fork) -> dict[str, list[store.StreamRow]]:
    bounds, streams = dict(fork.stream_bounds), dict[str, list[store.StreamRow]]()
    for name, rows in source.streams.items():
        for row in rows:
            if row.written_at > fork.streams_until or row.offset >= bounds.get(name, row.offset + 1):
                break
            streams.setdefault(name, []).append(row)
    return streams
