"""The worker: claims workflows, drives those it holds from commit to commit, hands them back. On the engine's thread.

The circle of one workflow: `draft` what is ready -> commit -> on `Done` apply the rows one by one -> dispatch the
steps that came of it -> draft again. One commit of a workflow is in flight at a time. Who is refused lets go at once.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from everlog.core import events
from everlog.core.durations import SECOND
from everlog.core.events import AnyEvent, EndEvent, decode_event, encode_event, type_of
from everlog.core.failures import describe
from everlog.errors import EverlogError, InternalError, NotFound
from everlog.host import Host
from everlog.replay.attempts import Attempt
from everlog.replay.definitions import Workflow
from everlog.replay.divergence import CannotGoOn
from everlog.replay.drafting import SETTLE, Draft, attention_at, draft, head_state, take_dispatches, undeliverable, wants_draft
from everlog.replay.execution import Environment, Execution, StepEnd
from everlog.runtime.committer import Committer, PendingCommit
from everlog.runtime.residents import Resident
from everlog.runtime.steps import Dispatch, StepRunner
from everlog.store import (
    Busy,
    Claimed,
    ClaimRequest,
    Commit,
    CommitOutcome,
    Done,
    EventRow,
    InboxRow,
    NewMessage,
    Refused,
    State,
    Store,
    Undeliverable,
)

log: Final = logging.getLogger("everlog")
MOST_TAKEOVERS: Final = 5
CLAIM_AT_ONCE: Final = 100
HAND_BACK_PAUSE: Final = SECOND
NEVER: Final = float("inf")


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """What a worker is told when it is made."""

    worker: str
    build: str
    concurrency: int
    workflows: Callable[[], Mapping[str, Workflow[..., Any]]]


class Worker:
    """Holds workflows and drives them."""

    def __init__(
        self,
        settings: WorkerSettings,
        environment: Environment,
        store: Store,
        host: Host,
        committer: Committer,
        steps: StepRunner,
        on_end: Callable[[str, EndEvent], None],
    ) -> None:
        self.settings = settings
        self.environment = environment
        self._store = store
        self._host = host
        self._committer = committer
        self._steps = steps
        self._on_end = on_end
        self.residents: dict[str, Resident] = {}
        self._dirty: dict[Resident, None] = {}
        self._alarms: list[tuple[float, int, Resident]] = []
        self._alarm_number = 0
        self._dispatches: list[Dispatch] = []
        self._inbox_seen = 0
        self.inbox_wanted = False
        self.claim_wanted = True
        self.next_claim: float = 0
        """Store time at which an unheld workflow is due, as the last claim said."""
        self.draining = False
        self.may_start = True
        """False while the worker is past its own lease: then it starts no attempt and claims nothing."""

    # -- taking ------------------------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Tell whether another workflow may be held."""
        return not self.draining and self.may_start and len(self.residents) < self.settings.concurrency

    def beginning(self, now: int) -> EventRow:
        """Give the row with which this worker begins a workflow that it creates."""
        environment = self.environment
        began = events.WorkflowBegan(
            format=events.FORMAT,
            everlog=environment.everlog,
            python=environment.python,
            build=environment.build,
            worker=self.settings.worker,
        )
        return EventRow(2, type_of(began), now, encode_event(began))

    def adopt(self, workflow_id: str, token: str, rows: Sequence[EventRow], definition: Workflow[..., Any]) -> None:
        """Hold a workflow that was just created here, and run it to its first wait."""
        self._take(workflow_id, token, rows, (), definition, 0)

    def claim(self, now: int) -> None:
        """Take what is runnable, as far as there is room."""
        self.claim_wanted = False
        known = self.settings.workflows()
        room = min(self.settings.concurrency - len(self.residents), CLAIM_AT_ONCE)
        if not self.has_room() or not known:
            return
        request = ClaimRequest(
            worker=self.settings.worker,
            tokens=[self._host.token() for _ in range(room)],
            build=self.settings.build,
            names=sorted(known),
        )
        answer = self._store.claim(request)
        self.next_claim = NEVER if answer.next_due is None else answer.next_due
        self.claim_wanted = len(answer.claimed) == room
        for claimed in answer.claimed:
            self._take_claimed(claimed, known[claimed.head.name])

    def _take_claimed(self, claimed: Claimed, definition: Workflow[..., Any]) -> None:
        head = claimed.head
        history = claimed.history or self._store.read(head.workflow_id)
        if head.token is None or not history or history[-1].seq != head.seq:
            raise InternalError(f"the store claimed {head.workflow_id!r} at seq {head.seq} with another history")
        self._take(head.workflow_id, head.token, history, claimed.inbox, definition, head.takeovers)

    def _take(
        self,
        workflow_id: str,
        token: str,
        rows: Sequence[EventRow],
        inbox: Sequence[InboxRow],
        definition: Workflow[..., Any],
        takeovers: int,
    ) -> None:
        history = [(row.seq, row.recorded_at, decode_event(row.payload)) for row in rows]
        created = history[0][2]
        if not isinstance(created, events.WorkflowCreated):
            raise InternalError(f"the history of {workflow_id!r} does not begin with its creation")
        execution = Execution(workflow_id, created, definition, self.environment)
        execution.now = history[-1][1]
        resident = Resident(execution, token=token, seq=rows[-1].seq)
        resident.inbox = list(inbox)
        self.residents[workflow_id] = resident
        try:
            if len(history) <= 2:
                for seq, recorded_at, event in history:
                    execution.apply(seq, recorded_at, event)
            else:
                execution.replay(history)
            if takeovers >= MOST_TAKEOVERS:
                raise CannotGoOn(_poisoned(execution, takeovers))
        except CannotGoOn as stuck:
            self._get_stuck(resident, stuck.why)
            return
        self._after_drain(resident)

    # -- what comes in -----------------------------------------------------------------------------------------------

    def step_ended(self, dispatch: Dispatch, end: StepEnd | None) -> None:
        """Take the end of an attempt; without one it was cut short, and is run again."""
        resident, operation = dispatch.resident, dispatch.operation
        if self._steps.running.get(operation) is not dispatch:
            return
        del self._steps.running[operation]
        if resident.lost:
            return
        if end is None:
            operation.dispatched = False
            if not self.draining:
                operation.retry_at = self._store.now() + HAND_BACK_PAUSE
                resident.execution.hand_back(operation)
        else:
            resident.execution.ended_steps.append((operation, end))
        self._dirty[resident] = None

    def read_inbox(self) -> None:
        """Read the messages that came for what is held here."""
        self.inbox_wanted = False
        for row in self._store.unread(self.settings.worker, after=self._inbox_seen):
            self._inbox_seen = max(self._inbox_seen, row.row)
            resident = self.residents.get(row.destination)
            if resident is not None and all(known.row != row.row for known in resident.inbox):
                resident.inbox.append(row)
                self._dirty[resident] = None

    def wake_due(self, now: int) -> None:
        """Have every workflow looked at whose alarm has rung."""
        while self._alarms and self._alarms[0][0] <= now:
            at, _, resident = heapq.heappop(self._alarms)
            if not resident.lost and at == resident.alarm_at:
                resident.alarm_at = NEVER
                self._dirty[resident] = None

    def next_alarm(self) -> float:
        """Give the store time of the next alarm."""
        while self._alarms and (self._alarms[0][2].lost or self._alarms[0][0] != self._alarms[0][2].alarm_at):
            heapq.heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else NEVER

    def has_work(self) -> bool:
        """Tell whether there is something to do at once."""
        return bool(self._dirty or self.inbox_wanted or (self.claim_wanted and self.has_room()))

    # -- drafting and applying ---------------------------------------------------------------------------------------

    def draft_all(self, now: int) -> None:
        """Draft the next commit of every workflow that something happened to."""
        dirty, self._dirty = self._dirty, {}
        if any(resident.execution.waits for resident in dirty) and not self.inbox_wanted:
            self._read_before_expiry(dirty, now)
        for resident in dirty:
            if not resident.lost and resident.in_flight is None:
                self._draft(resident, now)

    def _read_before_expiry(self, dirty: Iterable[Resident], now: int) -> None:
        """A wait may expire only after the messages that came in time were read."""
        if any(attention_at(resident.execution) <= now for resident in dirty if resident.execution.waits):
            self.read_inbox()

    def _draft(self, resident: Resident, now: int) -> None:
        execution = resident.execution
        drafted = draft(execution, now, resident.inbox)
        if drafted is None:
            self._dispatch(resident)
            if self.draining:
                self._hand_back_at_rest(resident, now)
            else:
                self._rest(resident, now)
            return
        resident.rests_since = None
        self._send(resident, drafted)

    def _rest(self, resident: Resident, now: int) -> None:
        """Set the next alarm; a workflow that has come to rest otherwise than its head says has that written."""
        execution = resident.execution
        rest = head_state(execution)
        at = attention_at(execution)
        if rest != resident.head and rest[0] == "waiting":
            if resident.rests_since is None:
                resident.rests_since = now
            at = min(at, resident.rests_since + SETTLE)
            if now >= at:
                settled = draft(execution, now, resident.inbox, settle=True)
                if settled is not None:
                    self._send(resident, settled)
                return
        if at < resident.alarm_at:
            resident.alarm_at = at
            self._alarm_number += 1
            heapq.heappush(self._alarms, (at, self._alarm_number, resident))

    def _send(self, resident: Resident, drafted: Draft, *, release: bool = False) -> None:
        resident.in_flight = drafted
        resident.releasing = release
        seq = resident.seq
        rows = [
            EventRow(seq + position, type_of(event), drafted.recorded_at, encode_event(event))
            for position, event in enumerate(drafted.rows, start=1)
        ]
        commit = Commit(
            workflow_id=resident.workflow_id,
            token=resident.token,
            seq=seq,
            events=rows,
            state=drafted.state,
            wake_at=drafted.wake_at,
            topics=drafted.topics,
            consumed=drafted.consumed,
            messages=_messages(resident, drafted, rows),
            release=release,
            progress=drafted.progress,
            why=_summary(drafted),
        )
        size = sum(len(row.payload) for row in rows)
        self._committer.commit(PendingCommit(commit, lambda outcome: self._committed(resident, outcome), size))

    def _committed(self, resident: Resident, outcome: CommitOutcome | EverlogError) -> None:
        drafted = resident.in_flight
        if resident.lost or drafted is None:
            return
        match outcome:
            case Done():
                resident.in_flight = None
                self._apply(resident, drafted)
            case Busy():
                self._send(resident, drafted, release=resident.releasing)
            case Undeliverable():
                operation = drafted.sends[outcome.index]
                error = NotFound(_not_delivered(operation.to, outcome.reason))
                undeliverable(drafted, outcome.index, describe(error, self.environment.codec, traceback=False))
                self._send(resident, drafted, release=resident.releasing)
            case Refused():
                log.warning("workflow %r is held by another worker now; letting it go", resident.workflow_id)
                self.let_go(resident)
                self.claim_wanted = True
            case EverlogError():
                self._get_stuck(resident, f"its commit cannot be written: {outcome}")

    def _apply(self, resident: Resident, drafted: Draft) -> None:
        seq = resident.seq
        resident.seq = seq + len(drafted.rows)
        resident.head = (drafted.state, drafted.wake_at, drafted.topics)
        if drafted.consumed:
            taken = set(drafted.consumed)
            resident.inbox = [row for row in resident.inbox if row.row not in taken]
        if drafted.sends:
            self.inbox_wanted = self.claim_wanted = True
        execution = resident.execution
        execution.now = drafted.recorded_at
        try:
            for position, event in enumerate(drafted.rows, start=seq + 1):
                execution.apply(position, drafted.recorded_at, event)
        except CannotGoOn as stuck:
            self._get_stuck(resident, stuck.why)
            return
        if drafted.state in _END_STATES:
            self._ended(resident)
        elif resident.releasing:
            self.let_go(resident)
            self.claim_wanted = True
        else:
            self._after_drain(resident)

    def _after_drain(self, resident: Resident) -> None:
        execution = resident.execution
        if execution.dropped_steps:
            self._steps.drop(execution.dropped_steps)
            execution.dropped_steps.clear()
        self._dispatch(resident)
        if self.draining or resident.inbox or wants_draft(execution):
            self._dirty[resident] = None
        else:
            self._rest(resident, execution.now)

    def _dispatch(self, resident: Resident) -> None:
        if self.draining or not self.may_start:
            return
        for operation in take_dispatches(resident.execution):
            attempt = Attempt(
                workflow_id=resident.workflow_id,
                step=operation.name,
                identity=operation.identity,
                key=operation.key,
                number=operation.attempt,
            )
            self._dispatches.append(Dispatch(resident, operation, attempt))

    def run_dispatches(self) -> None:
        """Begin the attempts that came of the last drains, all with one wake-up."""
        if self._dispatches:
            dispatches, self._dispatches = self._dispatches, []
            self._steps.run([one for one in dispatches if not one.resident.lost])

    # -- letting go --------------------------------------------------------------------------------------------------

    def _ended(self, resident: Resident) -> None:
        outcome = resident.execution.outcome
        self.let_go(resident)
        if outcome is not None:
            self._on_end(resident.workflow_id, outcome)

    def _get_stuck(self, resident: Resident, why: str) -> None:
        log.error("workflow %r is stuck: %s", resident.workflow_id, why)
        stuck = Commit(
            workflow_id=resident.workflow_id,
            token=resident.token,
            seq=resident.seq,
            state="stuck",
            build=self.settings.build,
            why=why,
            release=True,
            progress=False,
        )
        self.let_go(resident)
        self._committer.commit(PendingCommit(stuck, lambda outcome: self._stuck_committed(stuck, outcome)))

    def _stuck_committed(self, stuck: Commit, outcome: CommitOutcome | EverlogError) -> None:
        if isinstance(outcome, Busy):
            self._committer.commit(PendingCommit(stuck, lambda again: self._stuck_committed(stuck, again)))
        elif isinstance(outcome, EverlogError):
            log.error("workflow %r could not be marked as stuck: %s", stuck.workflow_id, outcome)

    def let_go(self, resident: Resident) -> None:
        """Drop a workflow from memory; its running steps are cancelled, and nothing of it is written any more."""
        resident.lost = True
        if self.residents.get(resident.workflow_id) is resident:
            del self.residents[resident.workflow_id]
        self._dirty.pop(resident, None)
        execution = resident.execution
        running = [operation for operation in execution.steps.values() if operation.dispatched]
        self._steps.drop([*running, *execution.dropped_steps])
        execution.tear_down()
        if len(self.residents) == self.settings.concurrency - 1:
            self.claim_wanted = True

    def let_all_go(self) -> None:
        """Drop everything: this worker was declared dead, so others hold it now."""
        for resident in list(self.residents.values()):
            self.let_go(resident)

    def wake_all(self) -> None:
        """Have every workflow looked at."""
        self._dirty.update(dict.fromkeys(self.residents.values()))

    def drain(self) -> None:
        """Start nothing more; what is at rest is handed back at once, the rest when its running steps have ended."""
        self.draining = True
        self.wake_all()

    def hand_back_all(self, now: int) -> None:
        """Hand back what is still held; attempts that run are cut short and leave no outcome."""
        self.draining = True
        for resident in list(self.residents.values()):
            for operation in resident.execution.steps.values():
                operation.dispatched = False
            if resident.in_flight is None:
                self._hand_back(resident, now)

    def _hand_back_at_rest(self, resident: Resident, now: int) -> None:
        if not any(operation.dispatched for operation in resident.execution.steps.values()):
            self._hand_back(resident, now)

    def _hand_back(self, resident: Resident, now: int) -> None:
        drafted = draft(resident.execution, now, resident.inbox, settle=True)
        if drafted is not None:
            self._send(resident, drafted, release=drafted.state not in _END_STATES)


_END_STATES: Final[frozenset[State]] = frozenset({"completed", "failed", "cancelled"})


def _messages(resident: Resident, drafted: Draft, rows: Sequence[EventRow]) -> list[NewMessage]:
    """Give the messages of a draft; the seq of its row makes each unique for this source."""
    if not drafted.sends:
        return []
    seqs = {
        event.operation: row.seq
        for event, row in zip(drafted.rows, rows, strict=True)
        if isinstance(event, events.MessageSent)
    }
    return [
        NewMessage(
            destination=operation.to,
            source=resident.workflow_id,
            number=seqs[operation.identity],
            topic=operation.topic,
            payload=operation.payload,
            key=operation.key,
        )
        for operation in drafted.sends
    ]


def _summary(drafted: Draft) -> str | None:
    last: AnyEvent | None = drafted.rows[-1] if drafted.rows else None
    if isinstance(last, events.WorkflowFailed):
        return f"{last.error.type.rpartition(':')[2]}: {last.error.message}"[:500]
    return last.reason or None if isinstance(last, events.WorkflowCancelled) else None


def _not_delivered(to: str, reason: str) -> str:
    if reason == "unknown":
        return f"there is no workflow {to!r} to send to; start it first"
    return f"workflow {to!r} has ended; nobody will read the message"


def _poisoned(execution: Execution, takeovers: int) -> str:
    steps = ", ".join(repr(operation.identity) for operation in execution.steps.values()) or "no step"
    return (
        f"{takeovers} workers died while they held workflow {execution.workflow_id!r}, and it made no progress. "
        f"Open then: {steps}. If a step kills its process, mend it; another build goes on by itself"
    )
