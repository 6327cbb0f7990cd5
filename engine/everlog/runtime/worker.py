"""The worker: claims workflows, drives those it holds from commit to commit, hands them back. On the engine's thread.

The circle of one workflow: `draft` what is ready -> commit -> on `Done` apply the rows one by one -> dispatch the
steps that came of it -> draft again. One commit of a workflow is in flight at a time. Who is refused lets go at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

from everlog.core.events import EndEvent
from everlog.errors import CorruptLog, EverlogError, PayloadUnavailable, StoreUnavailable
from everlog.host import Host
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.divergence import CannotGoOn
from everlog.replay.drafting import Draft, draft, wants_draft
from everlog.replay.environment import Environment, StepEnd
from everlog.replay.inbox import Inbox
from everlog.replay.rests import RUNNING, SETTLE, attention_at, head_state
from everlog.runtime.admission import Admission
from everlog.runtime.alarms import Alarms
from everlog.runtime.amending import amend
from everlog.runtime.births import Birth, births_of
from everlog.runtime.claims import execution_of, rebuild
from everlog.runtime.commits import commit_of, stuck_commit
from everlog.runtime.committer import CommitAnswer, Committer, PendingCommit
from everlog.runtime.dispatches import Dispatches, given_back, take_back
from everlog.runtime.lengths import Lengths
from everlog.runtime.lives import begin_next, succeed
from everlog.runtime.outputs import Outputs
from everlog.runtime.parking import Resting, may_expire
from everlog.runtime.preparing import can_prepare, prepare
from everlog.runtime.queue_book import QueueBook
from everlog.runtime.replies import look_for_answers
from everlog.runtime.residents import NEVER, History, Resident, received_again
from everlog.runtime.reunions import look_for_children
from everlog.runtime.settings import WorkerSettings
from everlog.runtime.slots import Slots
from everlog.runtime.steps import Dispatch, StepRunner
from everlog.runtime.strand_room import Known, StrandRoom
from everlog.runtime.taking import Taking
from everlog.store import (
    ENDED,
    ChildDeduplicated,
    ChildExists,
    ClaimRequest,
    Deduplicated,
    Done,
    Head,
    Refused,
    Store,
    Undeliverable,
)

log: Final = logging.getLogger("everlog")
CLAIM_AT_ONCE: Final = 100
PARK_AT_ONCE: Final = 200


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
        book: QueueBook,
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
        self._alarms = Alarms()
        self._resting = Resting()
        self._strand_room = StrandRoom()
        self.admission = Admission(book, host, settings.queues)
        mark_stuck, obeyed, read_anew = self._mark_stuck, self._obeyed, self._read_anew
        self._taking = Taking(store, committer, self.admission, self.adopt, mark_stuck, obeyed, read_anew)
        self._book = book
        self.slots = Slots(book, host)
        self._dispatches = Dispatches(self.slots)
        self._lengths = Lengths()
        self.expected = 0
        """So many workflows are being created that will be held here."""
        self.outputs = Outputs(environment.codec, host, store)
        self._inbox_seen = 0
        self.inbox_wanted = False
        self.claim_wanted = True
        self.next_claim: float = 0
        """Store time at which an unheld workflow is due, as the last claim said."""
        self.let_go_of: list[str] = []
        """Workflows that were dropped from memory since somebody last looked: they may have ended elsewhere."""
        self.draining = False
        self._now = 0
        """Store time at which this round began."""
        self._starting = False
        """Whether attempts may begin, as it was when this round began; what begins asks again."""
        self.may_start = True
        """False while the worker is past its own lease: then it starts no attempt and claims nothing."""
        self.holds_lease: Callable[[], bool] = lambda: True
        """Tells the same at this moment, also when this process stood still and nobody could say so."""

    # -- taking ------------------------------------------------------------------------------------------------------

    def begin_round(self, now: int) -> None:
        """Look once what the time is and whether attempts may begin in this round."""
        self._now, self._starting = now, self._starts()
        self._strand_room.count()

    def has_room(self) -> bool:
        """Tell whether another workflow may be held."""
        return self._starts() and not self.is_full()

    def reserve(self, definition: AnyWorkflow[..., Any]) -> bool:
        """Tell whether a workflow that is being created may be held here, and if so expect it."""
        if not self.has_room() or not self._strand_room.reserve(definition):
            return False
        self.expected += 1
        return True

    def is_full(self) -> bool:
        """Tell whether as many workflows are held as may be."""
        return len(self.residents) + self.expected + self.admission.coming >= self.settings.concurrency

    def look_around(self) -> None:
        """Have the store asked for messages and for what may be claimed: something was written for others."""
        self.inbox_wanted = self.claim_wanted = True

    def look_everywhere(self) -> None:
        """The same, and the queues as well: others have written, or there is room again."""
        self.look_around()
        self._book.others_wrote()
        self.admission.wanted = self.slots.wanted = True

    def claim(self, now: int) -> None:
        """Take what is runnable, as far as there is room."""
        known, room = self._claimable()
        if not self.has_room() or not known:
            self.claim_wanted, self.next_claim = False, NEVER
            return
        own, tokens, names = self.settings, [self._host.token() for _ in range(room)], sorted(known)
        request = ClaimRequest(worker=own.worker, tokens=tokens, build=own.build, names=names, queues=own.queues)
        answer = self._store.claim(request)
        self.next_claim = NEVER if answer.next_due is None else answer.next_due
        self.claim_wanted = len(answer.claimed) == room
        for claimed in answer.claimed:
            self._taking.take(claimed, known[claimed.head.name], now)

    def admit(self, now: int) -> None:
        """Take what stands in queues, as far as there is room."""
        known, room = self._claimable()
        for claimed in self.admission.admit(self.settings.worker, known, room if known and self.has_room() else 0):
            self._taking.take(claimed, known[claimed.head.name], now)

    def _claimable(self) -> tuple[Known, int]:
        room = self.settings.concurrency - len(self.residents) - self.expected - self.admission.coming
        return self._strand_room.claimable(self.settings.workflows(), max(0, min(room, CLAIM_AT_ONCE)))

    def _obeyed(self, workflow_id: str, end: EndEvent | None) -> None:
        if end is not None:
            self._on_end(workflow_id, end)
        self.look_everywhere()

    def _read_anew(self) -> None:
        """Have the whole inbox read."""
        self._inbox_seen, self.inbox_wanted = 0, True

    def adopt(
        self,
        workflow_id: str,
        token: str,
        history: History,
        inbox: Inbox,
        definition: AnyWorkflow[..., Any],
        head: Head | None = None,
        size: int = 0,
    ) -> None:
        """Hold a workflow, and run it to where it waits. Without a head it was just created or continued here."""
        execution = execution_of(workflow_id, history, definition, self.environment)
        resident = self.outputs.resident(execution, token, history[-1][0])
        again = received_again(workflow_id, history)
        resident.inbox = Inbox([*again, *inbox]) if again else inbox
        self._lengths.taken(resident, size)
        if head is None:
            resident.stream_ends = {} if execution.first_seq == 1 else None
        else:
            resident.head = (head.state, head.wake_at, list(head.topics))
        self.residents[workflow_id] = resident
        try:
            rebuild(execution, history, head)
        except CannotGoOn as stuck:
            self._get_stuck(resident, stuck.why)
        except Exception as error:  # noqa: BLE001 - must not stop the other workflows
            self._fail_to_run(resident, error)
        else:
            self._strand_room.take(resident)
            self.admission.took(resident)
            self._after_drain(resident)

    # -- what comes in -----------------------------------------------------------------------------------------------

    def step_ended(self, dispatch: Dispatch, end: StepEnd | None) -> None:
        """Take the end of an attempt; without one it was cut short, and is run again."""
        resident, operation, running = dispatch.resident, dispatch.operation, self._steps.running
        if running.get(operation) is not dispatch:
            return
        del running[operation]
        self.slots.ended(resident, operation)
        if not resident.lost:
            if end is None:
                take_back(dispatch, self._store, draining=self.draining)
            else:
                resident.execution.ended_steps.append((operation, end))
            self._dirty[resident] = None

    def read_inbox(self) -> None:
        """Read the messages that came for what is held here."""
        unread = self._store.unread(self.settings.worker, after=self._inbox_seen)
        self.inbox_wanted = False
        for row in unread:
            self._inbox_seen = max(self._inbox_seen, row.row)
            resident = self.residents.get(row.destination)
            if resident is not None and row.row > resident.inbox.last_row:
                resident.inbox.add(row)
                self._dirty[resident] = None

    def wake_due(self, now: int) -> None:
        """Have every workflow looked at whose alarm has rung."""
        for resident in (*self._alarms.ring(now), *self.outputs.ripe(now)):
            self._dirty[resident] = None

    def next_alarm(self) -> float:
        """Give the store time of the next alarm."""
        return min(self._alarms.next(), self.outputs.next())

    def has_work(self) -> bool:
        """Tell whether there is something to do at once."""
        if self._strand_room.has_room_again():
            self.claim_wanted = self.admission.wanted = True
        wanted = self.claim_wanted or self.admission.is_due(self._now)
        return bool(self._dirty or self.inbox_wanted or self.slots.is_due(self._now) or (wanted and self.has_room()))

    # -- drafting and applying ---------------------------------------------------------------------------------------

    def draft_all(self, now: int) -> None:
        """Draft the next commit of every workflow that something happened to."""
        if not self.inbox_wanted and any(may_expire(resident, now) for resident in self._dirty):
            self.read_inbox()  # a wait may expire only after the messages that came in time were read
        dirty, self._dirty = self._dirty, {}
        for resident in dirty:
            if not resident.lost and resident.in_flight is None:
                try:
                    self._draft(resident, now)
                except StoreUnavailable:  # nothing of it was chosen yet
                    self._dirty = {**dirty, **self._dirty}
                    raise
                except Exception as error:  # noqa: BLE001 - must not stop the other workflows
                    self._fail_to_run(resident, error)

    def _draft(self, resident: Resident, now: int) -> None:
        execution = resident.execution
        published = execution.published
        if resident.outlet.is_told or published.parts or published.pending:
            self.outputs.gather(resident, now)
        if execution.sends:
            prepare(execution, self.residents, self._book)
        looks = execution.children.uncertain and not (execution.paused or self.draining)
        if looks and look_for_children(resident, self._store):
            self.claim_wanted = self.admission.wanted = True
        if execution.waits.unsure and not execution.paused:
            look_for_answers(resident, self._store, now, self.read_inbox)
        drafted = draft(execution, now, resident.inbox, starting=self._starting)
        if drafted is None:
            if self._starting:
                self._dispatches.gather(resident)
            if not self.draining and not execution.paused:
                self._rest(resident, now)
            elif not any(operation.dispatched for operation in execution.steps.values()):
                self._hand_back(resident, now)
            return
        self._resting.end(resident)
        self._send(resident, drafted, release=drafted.continues is not None and begin_next(resident, drafted, self))

    def _rest(self, resident: Resident, now: int) -> None:
        """Set the next alarm; a workflow that only waits has that written to its head, and is parked in the end."""
        execution = resident.execution
        if execution.children.uncertain and execution.children.must_look():
            self._alarms.set(resident, now + SETTLE)
        if execution.steps and not execution.due and resident.alarm_at <= now + SETTLE:
            return  # a step is running, and it is looked at again as soon as need be
        at = attention_at(execution)
        if head_state(execution) is not RUNNING:
            step = self._resting.next_step(resident, now, crowded=self._strand_room.is_crowded_by(resident))
            if step == "hand back":
                self._hand_back(resident, now)
                return
            if step == "settle":
                self._settle(resident, now)
                return
            at = min(at, step)
        if at <= now and not self._starting:
            at = now + SETTLE  # its row is not to be written before it may begin
        self._alarms.set(resident, at)

    def _settle(self, resident: Resident, now: int) -> None:
        settled = draft(resident.execution, now, resident.inbox, settle=True, starting=self._starting)
        if settled is not None:
            self._send(resident, settled)

    def _send(self, resident: Resident, drafted: Draft, *, release: bool = False) -> None:
        resident.in_flight = drafted
        resident.releasing = release
        births = births_of(drafted, self._host, self) if drafted.starts else ()
        commit = commit_of(resident, drafted, [one.new for one in births] if births else (), release=release)
        self._lengths.grows(resident, commit)
        answered = partial(self._told_others, births) if births or commit.messages else self._answered
        self._committer.commit(PendingCommit(commit, partial(answered, resident)))

    def _told_others(self, births: Sequence[Birth], resident: Resident, outcome: CommitAnswer | EverlogError) -> None:
        """Take the answer to a commit that sends or starts something."""
        if isinstance(outcome, Done):
            self.look_around()
        self._answered(resident, outcome)
        for one in births:
            one.settle(isinstance(outcome, Done))

    def _answered(self, resident: Resident, outcome: CommitAnswer | EverlogError) -> None:
        drafted = resident.in_flight
        if resident.lost or drafted is None:
            return
        if isinstance(outcome, Done):
            resident.in_flight = None
            self._apply(resident, drafted)
            return
        match outcome:
            case Undeliverable() | ChildExists() | ChildDeduplicated():
                try:
                    amend(drafted, outcome, self._store, self.environment)
                    self._send(resident, drafted, release=resident.releasing)
                except (CorruptLog, PayloadUnavailable) as error:
                    self._get_stuck(resident, str(error))
            case Refused():
                log.warning("workflow %r is held by another worker now; letting it go", resident.workflow_id)
                self.let_go(resident)
                self.claim_wanted = True
            case EverlogError() | Deduplicated():
                self._get_stuck(resident, f"its commit cannot be written: {outcome}")

    def _apply(self, resident: Resident, drafted: Draft) -> None:
        seq = resident.seq
        resident.seq = seq + len(drafted.rows)
        if drafted.only_rows:
            resident.head = RUNNING
        else:
            resident.note(drafted)
            if drafted.published or drafted.parts or drafted.attributes or drafted.replies:
                self.outputs.written(resident, drafted)
            if drafted.continues is not None:
                succeed(resident, drafted, self)
                return
        execution = resident.execution
        execution.now = recorded_at = drafted.recorded_at
        try:
            for event in drafted.rows:
                seq += 1
                execution.apply(seq, recorded_at, event)
        except CannotGoOn as stuck:
            self._get_stuck(resident, stuck.why)
            return
        except Exception as error:  # noqa: BLE001 - must not stop the other workflows
            self._fail_to_run(resident, error)
            return
        if drafted.state in ENDED:
            self._ended(resident)
        elif resident.releasing:
            self.let_go(resident)
            self.claim_wanted = True
        else:
            self._after_drain(resident)

    def _after_drain(self, resident: Resident) -> None:
        execution = resident.execution
        if resident.outlet.is_told:
            self.outputs.look_at(resident)
        if execution.dropped_steps:
            self._steps.drop(execution.dropped_steps)
            for operation in execution.dropped_steps:
                self.slots.ended(resident, operation)
            execution.dropped_steps.clear()
        if execution.undispatched and self._starting:
            self._dispatches.gather(resident)
        if self.draining or resident.inbox or wants_draft(execution):
            self._dirty[resident] = None
        else:
            self._rest(resident, self._now)

    def _starts(self) -> bool:
        return self.may_start and not self.draining and self.holds_lease()

    def take_slots(self, now: int) -> None:
        """Take slots for the attempts that wait for some."""
        self._dirty.update(dict.fromkeys(self.slots.look(self.settings.worker, now)))

    def run_dispatches(self) -> None:
        """Begin the attempts that came of the last drains, all with one wake-up."""
        wanted = self._dispatches.take()
        if wanted and self._starts():
            self._steps.run(wanted)
        elif wanted:
            self._dirty.update(dict.fromkeys(given_back(wanted)))

    # -- letting go --------------------------------------------------------------------------------------------------

    def _ended(self, resident: Resident) -> None:
        outcome = resident.execution.outcome
        self.let_go(resident)
        if isinstance(outcome, EndEvent):
            self._on_end(resident.workflow_id, outcome)

    def _fail_to_run(self, resident: Resident, error: Exception) -> None:
        """A defect of ours, or of a type of the user's, must not stop the other workflows."""
        log.error("workflow %r cannot be run", resident.workflow_id, exc_info=error)
        self._get_stuck(resident, f"it cannot be run: {type(error).__name__}: {self.environment.said(error)}")

    def _get_stuck(self, resident: Resident, why: str) -> None:
        self.let_go(resident)
        self._mark_stuck(resident.workflow_id, resident.token, resident.seq, why)

    def _mark_stuck(self, workflow_id: str, token: str, seq: int, why: str) -> None:
        log.error("workflow %r is stuck: %s", workflow_id, why)
        self._committer.commit_alone(stuck_commit(workflow_id, token, seq, build=self.settings.build, why=why))

    def let_go(self, resident: Resident) -> None:
        """Drop a workflow from memory; its running steps are cancelled, and nothing of it is written any more."""
        resident.lost = True
        if self.residents.get(resident.workflow_id) is resident:
            del self.residents[resident.workflow_id]
        self._dirty.pop(resident, None)
        self._resting.end(resident)
        self._strand_room.let_go(resident)
        execution = resident.execution
        running = [operation for operation in execution.steps.values() if operation.dispatched]
        self._steps.drop([*running, *execution.dropped_steps])
        self.slots.let_go(resident)
        self.admission.let_go(resident)
        self.outputs.let_go(resident)
        execution.tear_down()
        self.let_go_of.append(resident.workflow_id)
        if len(self.residents) == self.settings.concurrency - 1:
            self.claim_wanted = self.admission.wanted = True

    def let_all_go(self) -> None:
        """Drop everything: this worker was declared dead, so others hold it now."""
        for resident in list(self.residents.values()):
            self.let_go(resident)

    def make_room(self, now: int) -> None:
        """Park some workflows that only wait, so that others can be held; each comes back when it may go on."""
        for resident in islice(self._resting.that_can_go(now), PARK_AT_ONCE):
            self._hand_back(resident, now)

    def wake_all(self) -> None:
        """Have every workflow looked at."""
        self._dirty.update(dict.fromkeys(self.residents.values()))

    def drain(self) -> None:
        """Start nothing more; what is at rest is handed back at once, the rest when its running steps have ended."""
        self.draining = True
        for resident in self.residents.values():
            self._steps.cut_short(one for one in resident.execution.steps.values() if one.definition.only_waits)
        self.wake_all()

    def hand_back_all(self, now: int) -> None:
        """Hand back what is still held; attempts that run are cut short and leave no outcome."""
        self.draining = True
        for resident in list(self.residents.values()):
            self._steps.cut_short(resident.execution.steps.values())
            if resident.in_flight is None:
                self._hand_back(resident, now)

    def _hand_back(self, resident: Resident, now: int) -> None:
        if not (self.outputs.can_gather(resident, now) and can_prepare(resident, self.residents, self._book)):
            return  # it becomes free with the lease
        drafted = draft(resident.execution, now, resident.inbox, settle=True, starting=False)
        if drafted is not None:
            self._send(resident, drafted, release=drafted.state not in ENDED)
