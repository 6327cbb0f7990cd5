"""Links: how a process of a simulated world reaches the store. A link loses, delays and repeats; it decides nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from everlog.errors import StoreError, StoreUnavailable
from everlog.store import (
    AdmitRequest,
    Batch,
    BatchOutcome,
    Busy,
    ClaimAnswer,
    ClaimRequest,
    Commit,
    Done,
    Refused,
    SlotAnswer,
    SlotWanted,
    Store,
    SupportsMaintenance,
    SupportsQueues,
    SupportsWakeups,
    WorkerRow,
)
from everlog.store_forks import Fork, ForkOutcome
from everlog.store_schedules import ScheduleWrite
from everlog.testing.faults import FaultyStore
from everlog.testing.witness import Witness


class Trouble(Struct, frozen=True):
    """What becomes of the next write."""

    kind: Literal["drop", "lose", "late", "repeat"]
    seconds: float


class Link(FaultyStore):
    """One process's connection to the store."""

    def __init__(self, store: Store, who: str, witness: Witness, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(store)
        self.who = who
        self.is_cut = False
        self.is_dead = False
        self.troubles: deque[Trouble] = deque()
        self._witness = witness
        self._loop = loop
        self._queues = store if isinstance(store, SupportsQueues) else None  # asking is slow, and this is asked often

    def now(self) -> int:
        """Give the time, which a process knows without asking."""
        return self.store.now()

    def commit(self, batch: Batch) -> BatchOutcome:
        """Pass on, or not, or later, or twice."""
        store = self._living()
        trouble = self.troubles.popleft() if self.troubles else None
        match trouble:
            case None:
                return self._write(store, batch)
            case Trouble(kind="drop"):
                self._witness.tell(self.who, "writes, and that is lost on the way")
            case Trouble(kind="lose"):
                self._write(store, batch)
            case Trouble(kind="late", seconds=seconds):
                self._witness.tell(self.who, f"writes, and that is held up for {seconds:g} s")
                # As a database does it: whose transaction goes on has locked what it writes.
                self._witness.locked.update(commit.workflow_id for commit in batch.commits)
                self._later(seconds, self._arrive, batch, True)
            case Trouble(seconds=seconds):
                self._later(seconds, self._arrive, batch, False)
                return self._write(store, batch)
        raise self._lost()

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        """Pass on; where the answer is lost, what was claimed is given back, as every store sees to it."""
        store = self._living()
        loses = self._loses()
        answer = store.claim(request)
        self._witness.took(self.who, request.worker, answer.claimed, how="claims")
        if loses:
            self._give_back(store, answer)
            raise self._lost()
        return answer

    def admit(self, request: AdmitRequest) -> ClaimAnswer:
        """The same."""
        store, queues = self._living(), self._with_queues()
        loses = self._loses()
        answer = queues.admit(request)
        if answer.claimed:
            self._witness.took(self.who, request.worker, answer.claimed, how="is admitted")
            limits = {row.name: row.limits for row in queues.queues()}
            for place in queues.places([one.head.workflow_id for one in answer.claimed]):
                if place is not None:
                    self._witness.admitted(place, limits[place.place.queue], store.now())
        if loses:
            self._give_back(store, answer)
            raise self._lost()
        return answer

    def take_slots(self, worker: str, wanted: Sequence[SlotWanted]) -> SlotAnswer:
        """Pass on."""
        queues = self._with_queues()
        answer = queues.take_slots(worker, wanted)
        limits = {row.name: row.limits for row in queues.queues()}
        for slot, taken in zip(wanted, answer.taken, strict=True):
            if taken:
                self._witness.took_slot(worker, slot, limits[slot.queue], self.store.now())
        return answer

    def free_slots(self, worker: str, slots: Sequence[str]) -> None:
        """Pass on."""
        super().free_slots(worker, slots)
        for slot in slots:
            self._witness.free(f"{worker}/{slot}")

    def register(self, worker: WorkerRow) -> None:
        """Pass on."""
        super().register(worker)
        self._witness.registered(self.who, worker.worker)

    def retire(self, worker: str) -> int:
        """Pass on."""
        held = super().retire(worker)
        self._witness.retired(self.who, worker)
        return held

    def delete(self, workflow_ids: Sequence[str]) -> Sequence[str]:
        """Pass on."""
        deleted = super().delete(workflow_ids)
        self._witness.deleted(self.who, deleted)
        return deleted

    def fork(self, fork: Fork) -> ForkOutcome:
        """Pass on."""
        outcome = super().fork(fork)
        if isinstance(outcome, Done):
            self._witness.forked(self.who, fork, self.store.read(fork.new.workflow_id))
        return outcome

    def write_schedules(self, writes: Sequence[ScheduleWrite]) -> Sequence[Done | Refused]:
        """Pass on."""
        outcomes = super().write_schedules(writes)
        for write, outcome in zip(writes, outcomes, strict=True):
            if isinstance(outcome, Done):
                self._witness.ticked(self.who, write)
        return outcomes

    def maintain(self) -> None:
        """Pass on, to a store that keeps house."""
        store = self._living()
        if isinstance(store, SupportsMaintenance):
            store.maintain()

    def heal(self) -> None:
        """Reach the store again."""
        self.is_cut = False

    def close(self) -> None:
        """Leave the store open: it is the world's."""

    def _write(self, store: Store, batch: Batch) -> BatchOutcome:
        locked = self._witness.locked
        free = [commit for commit in batch.commits if not locked[commit.workflow_id]]
        outcome = store.commit(batch if len(free) == len(batch.commits) else replace(batch, commits=free))
        if len(free) < len(batch.commits):
            answers = iter(outcome.commits)
            commits = [Busy() if locked[one.workflow_id] else next(answers) for one in batch.commits]
            outcome = replace(outcome, commits=commits)
        self._witness.committed(self.who, batch, outcome)
        return outcome

    def _later(self, seconds: float, function: Callable[..., None], *args: Any) -> None:
        """Have something happen outside of every process."""
        self._loop.call_later(seconds, function, *args, context=Context())

    def _arrive(self, batch: Batch, has_locked: bool) -> None:
        """A write arrives that nobody waits for any more."""
        self._witness.tell(self.who, "sent something that arrives now")
        if has_locked:
            self._witness.locked.subtract(commit.workflow_id for commit in batch.commits)
        try:
            self._write(self.store, batch)
        except StoreError as error:
            self._witness.tell(self.who, f"sent what cannot be written: {error}")

    def _loses(self) -> bool:
        return bool(self.troubles) and self.troubles[0].kind == "lose" and bool(self.troubles.popleft())

    def _give_back(self, store: Store, answer: ClaimAnswer) -> None:
        heads = [one.head for one in answer.claimed]
        commits = [
            Commit(
                workflow_id=one.workflow_id,
                token=one.token,
                seq=one.seq,
                state=one.state,
                wake_at=one.wake_at,
                topics=one.topics,
                build=one.build,
                why=one.why,
                release=True,
            )
            for one in heads
        ]
        self._write(store, Batch(commits=commits))

    def _lost(self) -> StoreUnavailable:
        self._witness.tell(self.who, "does not hear what came of it")
        return StoreUnavailable("the connection was lost, as the simulation has it", unknown_outcome=True)

    def _living(self) -> Store:
        if self.is_dead or self.is_cut:
            raise StoreUnavailable("the store cannot be reached, as the simulation has it")
        return self.store

    def _with_queues(self) -> SupportsQueues:
        self._living()
        return super()._with_queues() if self._queues is None else self._queues


class WakingLink(Link):
    """A link to a store that tells when something was written."""

    def __init__(self, store: Store, who: str, witness: Witness, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(store, who, witness, loop)
        self._wakes: list[Callable[[], None]] = []

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called after every write, while the store can be reached, and when it can be again."""
        store = self.store
        assert isinstance(store, SupportsWakeups)

        def pass_on() -> None:
            if not self.is_cut and not self.is_dead:
                wake()

        self._wakes.append(wake)
        return store.subscribe(pass_on)

    def heal(self) -> None:
        """Reach the store again."""
        super().heal()
        for wake in self._wakes:
            wake()


def link_to(store: Store, who: str, witness: Witness, loop: asyncio.AbstractEventLoop) -> Link:
    """Give a link that can what the store can."""
    kind = WakingLink if isinstance(store, SupportsWakeups) else Link
    return kind(store, who, witness, loop)
