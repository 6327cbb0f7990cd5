"""The conformance tests have teeth: each well-known naive form of a store fails a test that is named after it."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from inspect import signature
from typing import Any, cast

import pytest
from msgspec.structs import replace

from everlog.memory import MemoryStore
from everlog.store import (
    Batch,
    BatchOutcome,
    ClaimAnswer,
    ClaimRequest,
    Commit,
    Done,
    Head,
    NewMessage,
    Refused,
)
from everlog.store_schedules import DueSchedules, ScheduleWrite
from everlog.testing import SchedulesConformance, StoreConformance


class Naive(MemoryStore):
    """Changes what a commit is before the store sees it."""

    def change(self, commit: Commit) -> Commit:
        raise NotImplementedError

    def commit(self, batch: Batch) -> BatchOutcome:
        commits = [self.change(commit) for commit in batch.commits]
        return super().commit(Batch(creates=batch.creates, commits=commits, posts=batch.posts))

    def head_of(self, commit: Commit) -> Head | None:
        return self.heads([commit.workflow_id])[0]


class SeqIsTheOnlyFence(Naive):
    """The zombie's seq fits, so it wins."""

    def change(self, commit: Commit) -> Commit:
        found = self.head_of(commit)
        return _with(commit, token=found.token) if found is not None and found.token is not None else commit


class NoEventsNoFence(Naive):
    """What inserts no event cannot violate the unique key, and is let through."""

    def change(self, commit: Commit) -> Commit:
        found = self.head_of(commit)
        if commit.events or found is None or found.token is None:
            return commit
        return _with(commit, token=found.token, seq=found.seq)


class PartialInsert(Naive):
    """`ON CONFLICT DO NOTHING` inserts those of a zombie's events that the holder has not written yet."""

    def change(self, commit: Commit) -> Commit:
        found = self.head_of(commit)
        if found is None or found.token is None:
            return commit
        rest = [event for event in commit.events if event.seq > found.seq]
        return _with(commit, token=found.token, seq=found.seq, events=rest)


class SendsFirst(Naive):
    """The messages go out in a transaction of their own, before the head is looked at."""

    def change(self, commit: Commit) -> Commit:
        super(Naive, self).commit(Batch(posts=commit.messages))
        return _with(commit, messages=())


class ForgetsKeysOfReadMessages(MemoryStore):
    """The key is a column of the inbox, and gone with the row."""

    def commit(self, batch: Batch) -> BatchOutcome:
        unread = {(row.source, row.number) for row in self.unread("worker-1")}

        def without_key(message: NewMessage) -> NewMessage:
            kept = message.key if (message.source, message.number) in unread else None
            return cast(NewMessage, _with(message, key=kept))

        return super().commit(
            Batch(creates=batch.creates, commits=batch.commits, posts=list(map(without_key, batch.posts)))
        )


class ReadsBeforeItTakes(MemoryStore):
    """The history that a claim hands out is the one from before the last holder's last commit."""

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        answer = super().claim(request)
        return _with(answer, claimed=[_with(one, history=one.history[:-1]) for one in answer.claimed])


class ClaimsWhatIsHeld(MemoryStore):
    """Looks whether a workflow is unheld in one transaction, and takes it in the next."""

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        for workflows in list(self._open.values()):
            for workflow in list(workflows.values()):
                self._move(workflow, _with(workflow.head, token=None, worker=None))
        return super().claim(request)


class WritesWhateverTheRevision(MemoryStore):
    """The last writer of a schedule wins, so two engines make one tick twice."""

    def write_schedules(self, writes: Sequence[ScheduleWrite]) -> Sequence[Done | Refused]:
        there = {row.name: row.revision for row in self.schedules()}
        return super().write_schedules([_with(one, revision=there.get(one.name)) for one in writes])


class CreatesInItsOwnTransaction(MemoryStore):
    """The workflow of a tick is created first, and then the schedule is moved on, if it still can be."""

    def write_schedules(self, writes: Sequence[ScheduleWrite]) -> Sequence[Done | Refused]:
        self.commit(Batch(creates=list({new.workflow_id: new for one in writes for new in one.creates}.values())))
        return super().write_schedules([_with(one, creates=()) for one in writes])


class RefusesAllForOne(MemoryStore):
    """One schedule that was written meanwhile keeps back the ticks of all others."""

    def write_schedules(self, writes: Sequence[ScheduleWrite]) -> Sequence[Done | Refused]:
        there = {row.name: row.revision for row in self.schedules()}
        good = all(there.get(one.name) == one.revision for one in writes)
        return super().write_schedules(writes) if good else [Refused()] * len(writes)


class GivesWhatIsNotDue(MemoryStore):
    """What is due is asked of the wall clock, not of the time that was given."""

    def due_schedules(self, workflows: Sequence[str], *, now: int, limit: int) -> DueSchedules:
        return super().due_schedules(workflows, now=now + 1, limit=limit)


def _with(struct: Any, **changes: object) -> Any:
    return replace(struct, **changes)


Test = Callable[..., None]
kit = StoreConformance()
schedules = SchedulesConformance()


@pytest.mark.parametrize(
    ("naive", "test"),
    [
        (SeqIsTheOnlyFence, kit.test_a_commit_after_another_claim_is_refused),
        (NoEventsNoFence, kit.test_a_zombie_cannot_release_what_another_holds),
        (PartialInsert, kit.test_of_a_zombies_overlapping_events_none_is_inserted),
        (SendsFirst, kit.test_a_refused_commit_leaves_no_trace),
        (ForgetsKeysOfReadMessages, kit.test_a_keyed_message_is_delivered_once_also_after_it_was_read),
        (ReadsBeforeItTakes, kit.test_a_claim_reads_the_history_that_its_head_ends),
        (ClaimsWhatIsHeld, kit.test_what_is_held_is_not_claimed_again),
        (WritesWhateverTheRevision, schedules.test_of_two_that_build_on_one_revision_the_first_is_written),
        (WritesWhateverTheRevision, schedules.test_one_that_is_there_is_not_written_as_new),
        (CreatesInItsOwnTransaction, schedules.test_one_that_is_gone_is_neither_changed_nor_removed),
        (RefusesAllForOne, schedules.test_the_parts_of_a_call_are_independent),
        (GivesWhatIsNotDue, schedules.test_what_is_due_is_given_longest_due_first),
    ],
)
def test_a_naive_store_fails(naive: type[MemoryStore], test: Test) -> None:
    for store in (MemoryStore(), naive()):
        given: dict[str, object] = dict.fromkeys(signature(test).parameters, store)
        if "kind" in given:
            given["kind"] = "goes on"
        with nullcontext() if type(store) is MemoryStore else pytest.raises(AssertionError):
            test(**given)
