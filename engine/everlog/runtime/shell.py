"""The shell: the engine's thread. It takes what comes in, has the worker draft, the committer commit, and answers.

Everything that touches a workflow or the store's hot path happens here, on one thread, in turns of `pump`. Others
hand in functions by `submit`, and are answered on their own loops.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import get_ident
from typing import Any, Final

from everlog.core.durations import SECOND
from everlog.core.event_codec import decode_event
from everlog.core.events import EndEvent
from everlog.errors import CorruptLog, EverlogError, NotFound, StoreError, StoreUnavailable
from everlog.host import Driver, Host
from everlog.replay.environment import StepEnd
from everlog.replay.generators import GeneratorsHeld
from everlog.runtime.committer import Committer
from everlog.runtime.queue_book import QueueBook
from everlog.runtime.readers import Readers
from everlog.runtime.residents import Resident
from everlog.runtime.steps import Dispatch
from everlog.runtime.ticking import Ticker
from everlog.runtime.worker import Worker
from everlog.store import ENDED, Store, SupportsWakeups

log: Final = logging.getLogger("everlog")
POLL: Final = 0.02
"""Seconds between looks for what other processes wrote."""
MOST_ROUNDS: Final = 64
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
LONGEST_REST: Final = 1.0
"""Seconds for which only writes are looked for: the store's clock may be set, or go on while the machine sleeps."""

OnEnd = Callable[[EndEvent | EverlogError], None]


class Shell:
    """The engine's thread."""

    def __init__(self, store: Store, host: Host) -> None:
        self.store = store
        self.host = host
        self.committer = Committer(store)
        self.worker: Worker | None = None
        self.ticker: Ticker | None = None
        """What makes the ticks of schedules; None where no workflows are run, or the store keeps no schedules."""
        self.driver: Driver | None = None
        self._pumping_since: float | None = None
        self._pumping_in = 0
        """The thread that pumps, or did last."""
        self._pause = 0.0
        self._paused_until = 0.0
        """By the monotonic clock: the store cannot be used now, and is left alone until then."""
        self._rests_until = 0.0
        """By the monotonic clock: nothing is due before by itself; 0 where the last turn did not end at rest."""
        self._retiring: list[str] = []
        self.closed = False
        self._inbound: deque[Callable[[], None]] = deque()
        self._published: deque[Resident] = deque()
        self.readers = Readers(store)
        self.book = QueueBook(store, host)
        self._ended_steps: deque[tuple[Dispatch, StepEnd | None]] = deque()
        self._waiters: dict[str, list[OnEnd]] = {}
        self._answers: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
        self._changes = -1
        self._polled_at = 0.0
        self._told = False
        self._unsubscribe = store.subscribe(self._on_write) if isinstance(store, SupportsWakeups) else None

    # -- from other threads ------------------------------------------------------------------------------------------

    def submit(self, function: Callable[[], None]) -> None:
        """Have a function run on the engine's thread. Raises `StoreUnavailable` once the engine is closed."""
        if self.closed:
            raise StoreUnavailable("this engine is closed; open another")
        self._inbound.append(function)
        self.wake()

    def step_ended(self, dispatch: Dispatch, end: StepEnd | None) -> None:
        """Take the end of an attempt, from the thread that it ran on."""
        self._ended_steps.append((dispatch, end))
        if self.driver is not None:
            self.driver.wake()

    def step_published(self, resident: Resident) -> None:
        """Take note that a step has published something, from the thread that it ran on."""
        self._published.append(resident)
        self.wake()

    def wake(self) -> None:
        """Have the thread come by soon."""
        if self.driver is not None:
            self.driver.wake()

    def silence(self) -> float:
        """Give for how many seconds the engine's thread has not come back from what it is doing; 0 at rest."""
        since = self._pumping_since
        return 0.0 if since is None else self.host.monotonic() - since

    def thread(self) -> int:
        """Give the thread that pumps, or did last; 0 before the first time."""
        return self._pumping_in

    # -- on the engine's thread --------------------------------------------------------------------------------------

    def pump(self) -> float | None:
        """Do all that there is to do; give the seconds until there may be more."""
        self._pumping_in = get_ident()
        try:
            rest = self._look_only()
            if rest:
                return rest
            self._rests_until = 0.0
            with GeneratorsHeld():
                for _ in range(MOST_ROUNDS):
                    self._pumping_since = self.host.monotonic()
                    if self.closed or not self._round():
                        break
                else:
                    return 0.0
        finally:
            self._pumping_since = None
        return None if self.closed else self._rest()

    def close(self) -> None:
        """Take nothing more, and tell all who still wait for something."""
        self.closed = True
        error = StoreUnavailable("this engine was closed before the answer was there; ask another")
        for workflow_id in list(self._waiters):
            self.ended(workflow_id, error)
        self.readers.close(error)
        self.committer.close(error)
        with suppress(StoreError):
            self._retire()
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self.driver is not None:
            self.driver.stop()

    def answer(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        """Have a user's loop run the callback; all answers of a round go with one wake-up."""
        self._answers.setdefault(loop, []).append(callback)

    def flush_answers(self) -> None:
        """Send the answers of this round to their loops."""
        if self._answers:
            answers, self._answers = self._answers, {}
            for loop, callbacks in answers.items():
                self.host.post(loop, partial(_run_all, callbacks))

    def when_ended(self, workflow_id: str, on_end: OnEnd) -> Callable[[], None]:
        """Have `on_end` called once with the workflow's end, now or later; give what takes that back."""
        waiting = self._waiters.setdefault(workflow_id, [])
        waiting.append(on_end)
        try:
            self._look_for_ends([workflow_id])
        except StoreError:  # looked for again as soon as the store can be used
            self._changes, self._told = -1, True

        def forget() -> None:
            if on_end in waiting:
                waiting.remove(on_end)
            if not waiting and self._waiters.get(workflow_id) is waiting:
                del self._waiters[workflow_id]

        return forget

    def ended(self, workflow_id: str, end: EndEvent | EverlogError) -> None:
        """Tell those who wait for this end."""
        self.readers.wrote(workflow_id)
        for on_end in self._waiters.pop(workflow_id, ()):
            on_end(end)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _look_only(self) -> float:
        """Look for what others wrote, if that is all that there is to do, as in most turns of an engine at rest; give
        the seconds until the next turn, 0 where there is more to do."""
        at = self.host.monotonic()
        rest = self._rests_until - at
        if rest <= 0 or self._unsubscribe is not None or self._told or self._inbound or self._ended_steps:
            return 0.0
        if self.closed or at - self._polled_at < POLL:
            return 0.0
        self._pumping_since = at
        try:
            if self.store.changes() != self._changes:
                return 0.0
        except StoreError:
            return 0.0  # the turn that follows finds it again
        self._polled_at = at
        return min(POLL, rest)

    def _round(self) -> bool:
        worker = self.worker
        busy = self._take_inbound(worker)
        if self.closed:
            self.flush_answers()
            return False
        now, at = self.store.now(), self.host.monotonic()
        if worker is not None:
            worker.begin_round(now)
        if at >= self._paused_until:
            try:
                if self._retiring:
                    self._retire()
                self._poll(at)
                if worker is not None:
                    self._drive(worker, now)
                self.readers.look()
                self._pause = 0.0
            except StoreError as error:
                self._leave_alone(error, at)
        busy = (self.committer.flush(now) or busy) and at >= self._paused_until
        if worker is not None:
            worker.run_dispatches()
        self.flush_answers()
        return busy and self._has_more(worker)

    def _leave_alone(self, error: StoreError, at: float) -> None:
        if not self._pause:
            log.warning("the database cannot be used now: %s", error)
        self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
        self._paused_until = at + self._pause

    def _has_more(self, worker: Worker | None) -> bool:
        waiting = self._inbound or self._ended_steps or self._published or self.committer.waits()
        return bool(waiting or self.readers.are_due() or (worker is not None and worker.has_work()))

    def _take_inbound(self, worker: Worker | None) -> bool:
        busy = bool(self._inbound or self._ended_steps or self._published)
        while self._published:
            resident = self._published.popleft()
            if worker is not None:
                worker.outputs.look_at(resident)
        while self._ended_steps:
            dispatch, end = self._ended_steps.popleft()
            if worker is not None:
                worker.step_ended(dispatch, end)
        while self._inbound:
            self._inbound.popleft()()
        return busy

    def _drive(self, worker: Worker, now: int) -> None:
        if worker.inbox_wanted:
            worker.read_inbox()
        worker.wake_due(now)
        if worker.claim_wanted or now >= worker.next_claim:
            if worker.has_room():
                worker.claim(now)
            elif worker.is_full():
                worker.make_room(now)
        self.book.look()
        if worker.admission.is_due(now):
            if worker.has_room():
                worker.admit(now)
            elif worker.is_full():
                worker.make_room(now)
        if worker.slots.is_due(now):
            worker.take_slots(now)
        if self.ticker is not None and worker.may_start and not worker.draining:
            self.ticker.tick(now)
        worker.draft_all(now)
        if worker.let_go_of:
            self._look_for_ends([workflow_id for workflow_id in worker.let_go_of if workflow_id in self._waiters])
            worker.let_go_of.clear()

    def retire(self, worker: str) -> None:
        """Have a worker that is no more retired, as soon as the store can be used."""
        self._retiring.append(worker)

    def _retire(self) -> None:
        while self._retiring:
            self.store.retire(self._retiring[-1])
            self._retiring.pop()

    def _poll(self, at: float) -> None:
        """See what others have written: when the store tells, or else at most once every `POLL` seconds."""
        if not self._told and (self._unsubscribe is not None or at - self._polled_at < POLL):
            return
        told, self._told = self._told, False
        try:
            changes = self.store.changes()
            if changes != self._changes:
                if self.worker is not None:
                    self.worker.look_everywhere()
                if self.ticker is not None:
                    self.ticker.others_wrote()
                self._look_for_ends(list(self._waiters))
                self.readers.others_wrote()
        except StoreError:
            self._told = told or self._told
            raise
        self._polled_at = at
        self._changes = changes

    def _look_for_ends(self, workflow_ids: list[str]) -> None:
        held = self.worker.residents if self.worker is not None else {}
        elsewhere = [workflow_id for workflow_id in workflow_ids if workflow_id not in held]
        if not elsewhere:
            return
        for workflow_id, head in zip(elsewhere, self.store.heads(elsewhere), strict=True):
            if head is None:
                self.ended(workflow_id, NotFound(f"there is no workflow {workflow_id!r} in this store"))
            elif head.state in ENDED:
                self.ended(workflow_id, self._read_end(workflow_id, head.seq))

    def _read_end(self, workflow_id: str, seq: int) -> EndEvent | EverlogError:
        rows = self.store.read(workflow_id, after=seq - 1, limit=1)  # it may have been retried since
        end = decode_event(rows[0].payload) if rows else None
        if not isinstance(end, EndEvent):
            return CorruptLog(f"workflow {workflow_id!r} has ended, but its history has no end at seq {seq}")
        return end

    def _on_write(self) -> None:
        """Called by the store after every write, also after our own, which tell us nothing."""
        if self._pumping_since is None or self._pumping_in != get_ident():
            self._told = True
            self.wake()

    def _rest(self) -> float | None:
        at = self.host.monotonic()
        if self._paused_until > at:
            return self._paused_until - at
        worker, now = self.worker, self.store.now()
        rest = float("inf")
        if worker is not None:
            due = min(worker.next_alarm(), worker.slots.next_due())
            next_taken = min(worker.next_claim, worker.admission.next_due())
            if next_taken < due and worker.has_room():
                due = next_taken
            if self.ticker is not None and worker.may_start and not worker.draining:
                due = min(due, self.ticker.next_look)
            rest = min(max(0.0, (due - now) / SECOND), max(0.0, self.book.next_look() - at))
        if self.committer.waits():
            rest = min(rest, max(0.0, (self.committer.next_flush() - now) / SECOND))
        if not self._has_more(worker):
            self._rests_until = at + min(rest, LONGEST_REST)
        rest = min(rest, POLL if self._unsubscribe is None else float("inf"))
        return None if rest == float("inf") else rest


def _run_all(callbacks: list[Callable[[], Any]]) -> None:
    for callback in callbacks:
        callback()
