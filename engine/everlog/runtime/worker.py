"""The worker: claims workflows, drives those it holds from commit to commit, hands them back. On the engine's thread.

The circle of one workflow: `draft` what is ready -> commit -> on `Done` apply the rows one by one -> dispatch the
steps that came of it -> draft again. One commit of a workflow is in flight at a time. Who is refused lets go at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

from everlog.core.events import EndEvent
from everlog.errors import CorruptLog, EverlogError, InternalError, StoreUnavailable
from everlog.host import Host
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.divergence import CannotGoOn
from everlog.replay.drafting import Draft, draft, wants_draft
from everlog.replay.execution import Environment, Execution, StepEnd
from everlog.replay.operations import StepOperation
from everlog.replay.quarantine import was_kept_aside
from everlog.replay.rests import RUNNING, SETTLE, attention_at, head_state
from everlog.runtime.alarms import Alarms
from everlog.runtime.amending import amend
from everlog.runtime.births import Birth, births_of
from everlog.runtime.claims import creation, rebuild, whole_history
from everlog.runtime.commits import commit_of, going_on, state_commit, stuck_commit
from everlog.runtime.committer import CommitAnswer, Committer, PendingCommit
from everlog.runtime.dispatches import Dispatches, given_back, take_end
from everlog.runtime.outputs import Outputs
from everlog.runtime.parking import PARK_AFTER, Resting, is_worth_parking
from everlog.runtime.residents import NEVER, History, Resident, received_again
from everlog.runtime.reunions import look_for_children
from everlog.runtime.sentences import poisoned
from everlog.runtime.settings import WorkerSettings
from everlog.runtime.steps import Dispatch, StepRunner
from everlog.runtime.strand_room import StrandRoom
from everlog.store import (
    ENDED,
    WORKER_DIED,
    ChildExists,
    Claimed,
    ClaimRequest,
    Commit,
    Done,
    Head,
    InboxRow,
    Refused,
    Store,
    Undeliverable,
)

log: Final = logging.getLogger("everlog")
MOST_TAKEOVERS: Final = 5
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
        self._dispatches = Dispatches()
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
        return len(self.residents) + self.expected >= self.settings.concurrency

    def look_around(self) -> None:
        """Have the store asked for messages and for what may be claimed: something was written for others."""
        self.inbox_wanted = self.claim_wanted = True

    def adopt(self, workflow_id: str, token: str, history: History, definition: AnyWorkflow[..., Any]) -> None:
        """Hold a workflow that was just created here, and run it to its first wait."""
        self._take(workflow_id, token, history, (), definition)

    def claim(self, now: int) -> None:
        """Take what is runnable, as far as there is room."""
        room = min(self.settings.concurrency - len(self.residents) - self.expected, CLAIM_AT_ONCE)
        known, room = self._strand_room.claimable(self.settings.workflows(), room)
        if not self.has_room() or not known:
            self.claim_wanted, self.next_claim = False, NEVER
            return
        settings, tokens = self.settings, [self._host.token() for _ in range(room)]
        request = ClaimRequest(worker=settings.worker, tokens=tokens, build=settings.build, names=sorted(known))
        answer = self._store.claim(request)
        self.next_claim = NEVER if answer.next_due is None else answer.next_due
        self.claim_wanted = len(answer.claimed) == room
        for claimed in answer.claimed:
            self._take_claimed(claimed, known[claimed.head.name])

    def _take_claimed(self, claimed: Claimed, definition: AnyWorkflow[..., Any]) -> None:
        head, token = claimed.head, claimed.head.token
        if token is None:
            raise InternalError(f"the store claimed {head.workflow_id!r} without a token")
        left = head.why == WORKER_DIED and head.takeovers < MOST_TAKEOVERS
        if left or head.state == "stuck":  # its head says first that it runs: else what that costs is not counted
            commit, claimed = going_on(claimed, token)
            self._committer.commit_alone(commit, partial(self._take_late, claimed, definition))
            return
        try:
            history = whole_history(claimed, self._store)
            if head.takeovers >= MOST_TAKEOVERS:  # its code is not run: it may be what would cost another
                self._mark_stuck(head.workflow_id, token, head.seq, poisoned(head, history))
            else:
                self._take(head.workflow_id, token, history, claimed.inbox, definition, head)
        except StoreUnavailable as error:
            log.warning("workflow %r was claimed and cannot be read now: %s", head.workflow_id, error)
            self._committer.commit_alone(state_commit(head.workflow_id, token, head.seq, head.state, release=True))
        except CorruptLog as error:
            self._mark_stuck(head.workflow_id, token, head.seq, str(error))

    def _take_late(self, claimed: Claimed, definition: AnyWorkflow[..., Any]) -> None:
        """Take what is held since an earlier moment: messages that came since then were seen by nobody."""
        self._inbox_seen, self.inbox_wanted = 0, True
        self._take_claimed(claimed, definition)

    def _take(
        self,
        workflow_id: str,
        token: str,
        history: History,
        inbox: Sequence[InboxRow],
        definition: AnyWorkflow[..., Any],
        head: Head | None = None,
    ) -> None:
        execution = Execution(workflow_id, creation(workflow_id, history), definition, self.environment)
        execution.now = history[-1][1]
        resident = self.outputs.resident(execution, token, history[-1][0])
        resident.inbox = [*received_again(workflow_id, history), *inbox]
        if head is None:
            resident.stream_ends = {}
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
            self._after_drain(resident)

    # -- what comes in -----------------------------------------------------------------------------------------------

    def step_ended(self, dispatch: Dispatch, end: StepEnd | None) -> None:
        """Take the end of an attempt; without one it was cut short, and is run again."""
        resident, operation = dispatch.resident, dispatch.operation
        if self._steps.running.get(operation) is not dispatch:
            return
        del self._steps.running[operation]
        if not resident.lost:
            take_end(dispatch, end, self._store, draining=self.draining)
            self._dirty[resident] = None

    def read_inbox(self) -> None:
        """Read the messages that came for what is held here."""
        unread = self._store.unread(self.settings.worker, after=self._inbox_seen)
        self.inbox_wanted = False
        for row in unread:
            self._inbox_seen = max(self._inbox_seen, row.row)
            resident = self.residents.get(row.destination)
            if resident is not None and (not resident.inbox or row.row > resident.inbox[-1].row):
                resident.inbox.append(row)
                self._dirty[resident] = None

    def wake_due(self, now: int) -> None:
        """Have every workflow looked at whose alarm has rung."""
        self._dirty.update(dict.fromkeys(self._alarms.ring(now)))
        self._dirty.update(dict.fromkeys(self.outputs.ripe(now)))

    def next_alarm(self) -> float:
        """Give the store time of the next alarm."""
        return min(self._alarms.next(), self.outputs.next())

    def has_work(self) -> bool:
        """Tell whether there is something to do at once."""
        self.claim_wanted = self._strand_room.has_room_again() or self.claim_wanted
        return bool(self._dirty or self.inbox_wanted or (self.claim_wanted and self.has_room()))

    # -- drafting and applying ---------------------------------------------------------------------------------------

    def draft_all(self, now: int) -> None:
        """Draft the next commit of every workflow that something happened to."""
        if not self.inbox_wanted:
            self._read_before_expiry(now)
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

    def _read_before_expiry(self, now: int) -> None:
        """A wait may expire only after the messages that came in time were read."""
        for resident in self._dirty:
            execution = resident.execution
            if (execution.waits or execution.children.awaited) and attention_at(execution) <= now:
                self.read_inbox()
                return

    def _draft(self, resident: Resident, now: int) -> None:
        execution = resident.execution
        self.outputs.gather(resident, now)
        if execution.children.uncertain and not (execution.paused or self.draining):
            self.claim_wanted = look_for_children(resident, self._store) or self.claim_wanted
        drafted = draft(execution, now, resident.inbox, starting=self._starting)
        if drafted is None:
            self._dispatch(resident)
            if not self.draining and not execution.paused:
                self._rest(resident, now)
            elif not any(operation.dispatched for operation in execution.steps.values()):
                self._hand_back(resident, now)
            return
        self._resting.end(resident)
        self._send(resident, drafted)

    def _rest(self, resident: Resident, now: int) -> None:
        """Set the next alarm; a workflow that only waits has that written to its head, and is parked in the end."""
        execution = resident.execution
        if execution.children.must_look():
            self._alarms.set(resident, now + SETTLE)
        if execution.steps and not execution.due and resident.alarm_at <= now + SETTLE:
            return  # a step is running, and it is looked at again as soon as need be
        at = attention_at(execution)
        rest = head_state(execution)
        if rest is not RUNNING:
            since = self._resting.begin(resident, now)
            if self._strand_room.is_crowded_by(resident) and is_worth_parking(resident, now):
                self._hand_back(resident, now)
                return
            if rest != resident.head:
                at = min(at, since + SETTLE)
                if now >= at:
                    self._settle(resident, now)
                    return
            elif is_worth_parking(resident, now) and not was_kept_aside(execution):
                if now >= since + PARK_AFTER:
                    self._hand_back(resident, now)
                    return
                at = min(at, since + PARK_AFTER)
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
        commit = commit_of(resident, drafted, [one.new for one in births], release=release)
        self._committer.commit(PendingCommit(commit, partial(self._committed, resident, commit, births)))

    def _committed(
        self, resident: Resident, commit: Commit, births: Sequence[Birth], outcome: CommitAnswer | EverlogError
    ) -> None:
        if commit.messages or births:
            if isinstance(outcome, Done):
                self.look_around()
            self._answered(resident, outcome)
            for one in births:
                one.settle(isinstance(outcome, Done))
        else:
            self._answered(resident, outcome)

    def _answered(self, resident: Resident, outcome: CommitAnswer | EverlogError) -> None:
        drafted = resident.in_flight
        if resident.lost or drafted is None:
            return
        if isinstance(outcome, Done):
            resident.in_flight = None
            self._apply(resident, drafted)
            return
        match outcome:
            case Undeliverable() | ChildExists():
                try:
                    amend(drafted, outcome, self._store, self.environment)
                    self._send(resident, drafted, release=resident.releasing)
                except CorruptLog as error:
                    self._get_stuck(resident, str(error))
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
        if drafted.published or drafted.parts or drafted.attributes:
            self.outputs.written(resident, drafted)
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
        self.outputs.look_at(resident)
        if execution.dropped_steps:
            self._steps.drop(execution.dropped_steps)
            execution.dropped_steps.clear()
        if execution.undispatched:
            self._dispatch(resident)
        if self.draining or resident.inbox or wants_draft(execution):
            self._dirty[resident] = None
        else:
            self._rest(resident, self._now)

    def _starts(self) -> bool:
        return self.may_start and not self.draining and self.holds_lease()

    def _dispatch(self, resident: Resident) -> None:
        if self._starting:
            self._dispatches.gather(resident)

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
        if outcome is not None:
            self._on_end(resident.workflow_id, outcome)

    def _fail_to_run(self, resident: Resident, error: Exception) -> None:
        """A defect of ours, or of a type of the user's, must not stop the other workflows."""
        log.error("workflow %r cannot be run", resident.workflow_id, exc_info=error)
        self._get_stuck(resident, f"it cannot be run: {type(error).__name__}: {error}")

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
        self.outputs.let_go(resident)
        execution.tear_down()
        self.let_go_of.append(resident.workflow_id)
        if len(self.residents) == self.settings.concurrency - 1:
            self.claim_wanted = True

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
            self._cut_short(one for one in resident.execution.steps.values() if one.definition.only_waits)
        self.wake_all()

    def _cut_short(self, operations: Iterable[StepOperation]) -> None:
        running = [operation for operation in operations if operation.dispatched]
        self._steps.drop(running)
        for operation in running:
            operation.dispatched = False

    def hand_back_all(self, now: int) -> None:
        """Hand back what is still held; attempts that run are cut short and leave no outcome."""
        self.draining = True
        for resident in list(self.residents.values()):
            self._cut_short(resident.execution.steps.values())
            if resident.in_flight is None:
                self._hand_back(resident, now)

    def _hand_back(self, resident: Resident, now: int) -> None:
        if not self.outputs.can_gather(resident, now):
            return  # it becomes free with the lease
        drafted = draft(resident.execution, now, resident.inbox, settle=True, starting=False)
        if drafted is not None:
            self._send(resident, drafted, release=drafted.state not in ENDED)
