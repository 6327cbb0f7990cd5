"""Retention as MemoryStore does it: holds, what is removed and written anew, and the record of who did it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from msgspec.structs import replace

from everlog import store
from everlog.core.retention import AuditRow, HoldRow
from everlog.memory_workflows import Workflow
from everlog.store_moving import WorkflowRows


class MemoryRetention:
    """The part of `MemoryStore` that keeps and removes; the rest of it has the lock and the workflows."""

    _workflows: dict[str, Workflow]
    _writes: int

    def __init__(self) -> None:
        self._holds: dict[str, HoldRow] = {}
        self._audit: list[AuditRow] = []
        self._turns: dict[str, tuple[str, int]] = {}

    def _locked(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _writing(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _put_rows(self, rows: WorkflowRows) -> store.CreateOutcome:
        raise NotImplementedError

    def _wake_others(self) -> None:
        raise NotImplementedError

    def now(self) -> int:
        raise NotImplementedError

    def delete(self, workflow_ids: Sequence[str]) -> Sequence[str]:
        """Remove those that have ended and are not held; give their ids."""
        with self._writing():
            heads = [self._workflows[one].head for one in dict.fromkeys(workflow_ids) if one in self._workflows]
            removed = [head.workflow_id for head in heads if self._is_removable(head, head.seq)]
            self._drop(removed)
        self._wake_others()
        return removed

    def remove(self, ended: Sequence[tuple[str, int]], audit: AuditRow) -> Sequence[str]:
        """Remove those that have ended at this seq and are not held."""
        with self._writing():
            found = {one: seq for one, seq in ended if one in self._workflows}
            removed = sorted(one for one, seq in found.items() if self._is_removable(self._workflows[one].head, seq))
            self._drop(removed)
            self._note(audit, removed)
        self._wake_others()
        return removed

    def rewrite(self, rows: WorkflowRows, audit: AuditRow) -> store.Done | store.Refused:
        """Write all of a workflow anew, if it has ended at the same seq and is not held."""
        workflow_id = rows.head.workflow_id
        with self._writing():
            there = self._workflows.get(workflow_id)
            if there is None or not self._is_removable(there.head, rows.head.seq):
                return store.Refused()
            self._drop([workflow_id])
            self._put_rows(rows)
            self._note(audit, [workflow_id])
        self._wake_others()
        return store.Done()

    def hold(self, workflow_ids: Sequence[str], audit: AuditRow) -> Sequence[str]:
        """Hold those that are there and not held yet."""
        with self._writing():
            held = sorted(one for one in set(workflow_ids) if one in self._workflows and one not in self._holds)
            for one in held:
                self._holds[one] = HoldRow(workflow_id=one, at=audit.at, by=audit.by, reason=audit.said)
            self._note(audit, held)
        return held

    def release(self, workflow_ids: Sequence[str], audit: AuditRow) -> Sequence[str]:
        """Take holds back."""
        with self._writing():
            released = sorted(one for one in set(workflow_ids) if one in self._holds)
            for one in released:
                del self._holds[one]
            self._note(audit, released)
        return released

    def holds(
        self, workflow_ids: Sequence[str] | None = None, *, after: str = "", limit: int = 100
    ) -> Sequence[HoldRow]:
        """Give one page of holds in order of their ids."""
        with self._locked():
            asked = self._holds if workflow_ids is None else set(workflow_ids) & self._holds.keys()
            return [self._holds[one] for one in sorted(asked) if one > after][:limit]

    def audit(self, *, after: int = 0, limit: int = 100) -> Sequence[tuple[int, AuditRow]]:
        """Give one page of what was done."""
        with self._locked():
            return list(enumerate(self._audit, start=1))[after : after + limit]

    def take_turn(self, what: str, holder: str, *, until: int) -> bool:
        """Take a turn, or keep it."""
        with self._writing():
            had_by, lasts_until = self._turns.get(what, (holder, 0))
            if had_by != holder and lasts_until > self.now():
                return False
            self._turns[what] = holder, until
            return True

    def _is_removable(self, head: store.Head, seq: int) -> bool:
        return head.state in store.ENDED and head.seq == seq and head.workflow_id not in self._holds

    def _drop(self, workflow_ids: Sequence[str]) -> None:
        for workflow_id in workflow_ids:
            del self._workflows[workflow_id]
        self._writes += len(workflow_ids)

    def _note(self, audit: AuditRow, workflow_ids: Sequence[str]) -> None:
        if workflow_ids:
            self._audit.append(replace(audit, workflow_ids=tuple(workflow_ids)))
            self._writes += 1
