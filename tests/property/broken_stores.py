"""Broken stores: each has one of the well-known defects, which a simulated fleet is to find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from msgspec.structs import replace

from everlog import store
from everlog.memory import MemoryStore
from everlog.memory_workflows import Workflow
from everlog.store import (
    AdmitRequest,
    Batch,
    BatchOutcome,
    ClaimAnswer,
    ClaimRequest,
    Commit,
    Done,
    InboxRow,
    NewMessage,
    NewWorkflow,
)


class Changing(MemoryStore):
    """Changes what a commit is before the store sees it."""

    def change(self, commit: Commit) -> Commit:
        raise NotImplementedError

    def commit(self, batch: Batch) -> BatchOutcome:
        return super().commit(replace(batch, commits=[self.change(one) for one in batch.commits]))


class SeqIsTheOnlyFence(Changing):
    """The zombie's seq fits, so it wins."""

    def change(self, commit: Commit) -> Commit:
        (head,) = self.heads([commit.workflow_id])
        return commit if head is None or head.token is None else replace(commit, token=head.token)


class NoEventsNoFence(Changing):
    """What inserts no event cannot violate the unique key, and is let through."""

    def change(self, commit: Commit) -> Commit:
        (head,) = self.heads([commit.workflow_id])
        if commit.events or head is None or head.token is None:
            return commit
        return replace(commit, token=head.token, seq=head.seq)


class PartialInsert(Changing):
    """`ON CONFLICT DO NOTHING` inserts those of a zombie's events that the holder has not written yet."""

    def change(self, commit: Commit) -> Commit:
        (head,) = self.heads([commit.workflow_id])
        if head is None or head.token is None:
            return commit
        rest = [event for event in commit.events if event.seq > head.seq]
        return replace(commit, token=head.token, seq=head.seq, events=rest)


class NeverLetsGo(Changing):
    """Who lets go of a workflow goes on to be its holder."""

    def change(self, commit: Commit) -> Commit:
        return replace(commit, release=False)


class KeepsWhatWasConsumed(MemoryStore):
    """Every fifth message that a workflow receives stays in its inbox: it is delivered twice."""

    received = 0

    def _commit(self, commit: Commit) -> store.CommitOutcome:
        workflow = self._workflows.get(commit.workflow_id)
        before = dict(workflow.inbox) if workflow is not None else {}
        outcome = super()._commit(commit)
        if isinstance(outcome, Done) and workflow is not None:
            for row in commit.consumed:
                self.received += 1
                if row in before and self.received % 5 == 0:
                    workflow.inbox[row] = before[row]
                    workflow.senders.add((before[row].source, before[row].number))
        return outcome


class LosesMessages(MemoryStore):
    """Every tenth message is gone."""

    delivered = 0

    def _deliver(self, message: NewMessage) -> None:
        self.delivered += 1
        if self.delivered % 10:
            super()._deliver(message)


class SendsFirst(MemoryStore):
    """The messages go out in a transaction of their own, before the head is looked at."""

    def commit(self, batch: Batch) -> BatchOutcome:
        messages = [message for commit in batch.commits for message in commit.messages]
        super().commit(Batch(posts=messages))
        commits = [replace(commit, messages=()) for commit in batch.commits]
        return super().commit(replace(batch, commits=commits))


class ForgetsWhatWasRead(MemoryStore):
    """That a message was delivered is a column of the inbox, and gone with the row."""

    def _was_delivered(self, message: NewMessage) -> bool:
        workflow = self._workflows.get(message.destination)
        return workflow is not None and (message.source, message.number) in workflow.senders


class LastInFirstOut(MemoryStore):
    """Messages come in the order in which a database happens to give rows."""

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        answer = super().claim(request)
        return replace(answer, claimed=[replace(one, inbox=[*reversed(one.inbox)]) for one in answer.claimed])

    def unread(self, worker: str, *, after: int = 0) -> Sequence[InboxRow]:
        return [*reversed(super().unread(worker, after=after))]


class ReadsBeforeItTakes(MemoryStore):
    """The history that a claim hands out may be the one from before the last holder's last commit."""

    claims = 0

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        self.claims += 1
        answer = super().claim(request)
        if self.claims % 3:
            return answer
        return replace(answer, claimed=[replace(one, history=one.history[:-1]) for one in answer.claimed])


class ClaimsWhatIsHeld(MemoryStore):
    """Looks whether a workflow is unheld in one transaction, and takes it in the next."""

    claims = 0

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        self.claims += 1
        if self.claims % 10 == 0:
            for workflows in list(self._open.values()):
                for workflow in list(workflows.values()):
                    self._move(workflow, replace(workflow.head, token=None, worker=None))
        return super().claim(request)


class MissesWhatCameMeanwhile(MemoryStore):
    """Who parks looks for messages in a snapshot that is older: what comes while a workflow is held wakes nobody."""

    def _deliver(self, message: NewMessage) -> None:
        before = set(self._workflows[message.destination].inbox)
        super()._deliver(message)
        workflow = self._workflows[message.destination]
        if workflow.head.token is not None:
            self._missed().update(workflow.inbox.keys() - before)

    def _claimable(self, request: ClaimRequest) -> Sequence[Workflow]:
        found: list[Workflow] = []
        for workflow in super()._claimable(request):
            wakes = [row for row in workflow.inbox if row not in self._missed()]
            asleep = workflow.head.state == "waiting" and (workflow.head.wake_at or self.now() + 1) > self.now()
            if wakes or not asleep:
                found.append(workflow)
        return found

    def _missed(self) -> set[int]:
        return cast("set[int]", vars(self).setdefault("_missed_rows", set()))


class TellsTheFirst(MemoryStore):
    """Who listens later than the first two is not told that something was written."""

    def _wake_others(self) -> None:
        for wake in self._subscribers[:2]:
            wake()


class LosesCommits(MemoryStore):
    """A commit is answered before it is durable, and one in forty never is."""

    committed = 0

    def _move_on(self, workflow: Workflow, commit: Commit) -> None:
        self.committed += 1
        if self.committed % 40 == 0:
            del workflow.events[commit.seq :]
            return
        super()._move_on(workflow, commit)


class LeavesTheDead(MemoryStore):
    """What a dead worker held stays its own."""

    def _retire(self, worker: str) -> int:
        held = list(self._open[worker].values())
        self._open[worker].clear()
        number = super()._retire(worker)
        self._open[worker].update((one.head.workflow_id, one) for one in held)
        return number


class KeepsSlotsOfTheDead(MemoryStore):
    """A step that died with its worker goes on to be counted."""

    def _retire(self, worker: str) -> int:
        slots = dict(self._queues.slots)
        number = super()._retire(worker)
        self._queues.slots.update(slots)
        return number


class CountsBeforeItLocks(MemoryStore):
    """Whoever admits counts slots in a snapshot that is older than the lock: there is one more room than there is."""

    def admit(self, request: AdmitRequest) -> ClaimAnswer:
        rows = dict(self._queues.rows)
        for name, row in rows.items():
            limit = row.limits.concurrency
            if limit is not None:
                self._queues.rows[name] = replace(row, limits=replace(row.limits, concurrency=limit + 1))
        try:
            return super().admit(request)
        finally:
            self._queues.rows.update(rows)


class ForgetsStarts(MemoryStore):
    """A rate counts in memory, and so from the beginning after each admission."""

    def admit(self, request: AdmitRequest) -> ClaimAnswer:
        self._queues._starts.clear()
        return super().admit(request)


class CreatesAnew(MemoryStore):
    """A creation that comes twice replaces the workflow of the first."""

    def _create(self, new: NewWorkflow) -> store.CreateOutcome:
        self._workflows.pop(new.workflow_id, None)
        return super()._create(new)


class ForgetsValues(MemoryStore):
    """Every third value that is set is not written."""

    values_set = 0

    def _commit(self, commit: Commit) -> store.CommitOutcome:
        self.values_set += bool(commit.values)
        return super()._commit(replace(commit, values=()) if self.values_set % 3 == 0 else commit)


class ForgetsWhenToWake(MemoryStore):
    """A workflow that waits for a message too is not told when it is to wake without one."""

    def _move_on(self, workflow: Workflow, commit: Commit) -> None:
        forgets = commit.state == "waiting" and not commit.topics
        super()._move_on(workflow, replace(commit, wake_at=None) if forgets else commit)


BROKEN: Final[list[Callable[..., Any]]] = [
    SeqIsTheOnlyFence,
    NoEventsNoFence,
    PartialInsert,
    NeverLetsGo,
    KeepsWhatWasConsumed,
    LosesMessages,
    SendsFirst,
    ForgetsWhatWasRead,
    LastInFirstOut,
    ReadsBeforeItTakes,
    ClaimsWhatIsHeld,
    MissesWhatCameMeanwhile,
    TellsTheFirst,
    LosesCommits,
    LeavesTheDead,
    KeepsSlotsOfTheDead,
    CountsBeforeItLocks,
    ForgetsStarts,
    CreatesAnew,
    ForgetsValues,
    ForgetsWhenToWake,
]
