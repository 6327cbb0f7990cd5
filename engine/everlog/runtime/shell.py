"""The shell: the engine's thread. It takes what comes in, has the worker draft, the committer commit, and answers.

Everything that touches a workflow or the store's hot path happens here, on one thread, in turns of `pump`. Others
hand in functions by `submit`, and are answered on their own loops.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from everlog.core.durations import SECOND
from everlog.core.events import EndEvent, decode_event
from everlog.errors import CorruptLog, EverlogError, NotFound, StoreError, StoreUnavailable
from everlog.host import Driver, Host
from everlog.replay.execution import StepEnd
from everlog.runtime.committer import Committer
from everlog.runtime.steps import Dispatch
from everlog.runtime.worker import Worker
from everlog.store import ENDED, Store, SupportsWakeups

log: Final = logging.getLogger("everlog")
POLL: Final = 0.02
"""Seconds between looks for what other processes wrote."""
MOST_ROUNDS: Final = 64
QUICK: Final = 0.005

OnEnd = Callable[[EndEvent | EverlogError], None]


class Shell:
    """The engine's thread."""

    def __init__(self, store: Store, host: Host) -> None:
        self.store = store
        self.host = host
        self.committer = Committer(store)
        self.worker: Worker | None = None
        self.driver: Driver | None = None
        self._pumping_since: float | None = None
        self.closed = False
        self._inbound: deque[Callable[[], None]] = deque()
        self._ended_steps: deque[tuple[Dispatch, StepEnd | None]] = deque()
        self._waiters: dict[str, list[OnEnd]] = {}
        self._answers: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
        self._changes = -1
        self._polled_at = 0.0
        self._told = False
        self._called_here = False
        self._usual_pump = 0.0
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
        if not self._called_here:
            self._call_soon_here()

    def _call_soon_here(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.wake()
            return
        self._called_here = True
        loop.call_soon(self._drive_here)

    def _drive_here(self) -> None:
        self._called_here = False
        if self.driver is None or self._usual_pump > QUICK or not self.driver.drive_here():
            self.wake()

    def wake(self) -> None:
        """Have the thread come by soon."""
        if self.driver is not None:
            self.driver.wake()

    def silence(self) -> float:
        """Give for how many seconds the engine's thread has not come back from what it is doing; 0 at rest."""
        since = self._pumping_since
        return 0.0 if since is None else self.host.monotonic() - since

    # -- on the engine's thread --------------------------------------------------------------------------------------

    def pump(self) -> float | None:
        """Do all that there is to do; give the seconds until there may be more."""
        self._pumping_since = self.host.monotonic()
        try:
            for _ in range(MOST_ROUNDS):
                if self.closed or not self._round():
                    break
            else:
                return 0.0
        finally:
            lasted = self.host.monotonic() - self._pumping_since
            self._pumping_since = None
            self._usual_pump += (lasted - self._usual_pump) / 8
        return None if self.closed else self._rest()

    def close(self) -> None:
        """Take nothing more."""
        self.closed = True
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
        self._look_for_ends([workflow_id])

        def forget() -> None:
            if on_end in waiting:
                waiting.remove(on_end)
            if not waiting and self._waiters.get(workflow_id) is waiting:
                del self._waiters[workflow_id]

        return forget

    def ended(self, workflow_id: str, end: EndEvent | EverlogError) -> None:
        """Tell those who wait for this end."""
        for on_end in self._waiters.pop(workflow_id, ()):
            on_end(end)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _round(self) -> bool:
        worker = self.worker
        busy = self._take_inbound(worker)
        now = self.store.now()
        try:
            self._poll()
            if worker is not None:
                self._drive(worker, now)
            busy = self.committer.flush(now) or busy
        except StoreError as error:
            log.warning("the database cannot be used now: %s", error)
            busy = False
        if worker is not None:
            worker.run_dispatches()
        self.flush_answers()
        return busy and self._has_more(worker)

    def _has_more(self, worker: Worker | None) -> bool:
        waiting = self._inbound or self._ended_steps or self.committer.waits()
        return bool(waiting or (worker is not None and worker.has_work()))

    def _take_inbound(self, worker: Worker | None) -> bool:
        busy = bool(self._inbound or self._ended_steps)
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
        if (worker.claim_wanted or now >= worker.next_claim) and worker.has_room():
            worker.claim(now)
        worker.draft_all(now)

    def _poll(self) -> None:
        """See what others have written: when the store tells, or else at most once every `POLL` seconds."""
        at = self.host.monotonic()
        if not self._told and (self._unsubscribe is not None or at - self._polled_at < POLL):
            return
        self._told = False
        self._polled_at = at
        changes = self.store.changes()
        if changes == self._changes:
            return
        self._changes = changes
        if self.worker is not None:
            self.worker.inbox_wanted = self.worker.claim_wanted = True
        self._look_for_ends(list(self._waiters))

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
        rows = self.store.read(workflow_id, after=seq - 1)
        end = decode_event(rows[-1].payload) if rows else None
        if not isinstance(end, EndEvent):
            return CorruptLog(f"workflow {workflow_id!r} has ended, but its history has no end at seq {seq}")
        return end

    def _on_write(self) -> None:
        """Called by the store after every write, also after our own, which tell us nothing."""
        if self._pumping_since is None:
            self._told = True
            self.wake()

    def _rest(self) -> float | None:
        worker, now = self.worker, self.store.now()
        rest = POLL if self._unsubscribe is None else float("inf")
        if worker is not None:
            due = min(worker.next_alarm(), worker.next_claim if worker.has_room() else float("inf"))
            rest = min(rest, max(0.0, (due - now) / SECOND))
        if self.committer.waits():
            rest = min(rest, max(0.0, (self.committer.paused_until - now) / SECOND))
        return None if rest == float("inf") else rest


def _run_all(callbacks: list[Callable[[], Any]]) -> None:
    for callback in callbacks:
        callback()
