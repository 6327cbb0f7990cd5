"""Wake-ups: a thread that tells other processes that this one wrote, and this one that others did.

Never in the transaction that writes: NOTIFY takes a lock of the whole database until its transaction is durable. After
a write the thread sends one notification for all that was written in the meantime. Notifications are only hints: one
may be lost with the process that was to send it, or with a connection. So the thread also looks by itself, rarely; and
often where no notifications arrive at all, as through a proxy that pools transactions.

A transaction of the user's, in which this process wrote, tells nobody when it commits. So as long as there is one the
thread asks what became of it, often at first, and then tells the others as after a write of its own.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psycopg

from everlog.errors import EverlogError
from everlog_postgres.arrays import texts
from everlog_postgres.changes import Changes
from everlog_postgres.connection import Connection, Driver, Question
from everlog_postgres.statements import Statements
from everlog_postgres.urls import Target

LOOK_ANYWAY: Final = 2.0
"""Seconds between two looks where notifications arrive."""

LOOK_OFTEN: Final = 0.02
LOOK_SELDOM: Final = 0.25
"""Seconds between two looks where none arrive: after a change, and when there was none for a while."""

_COALESCE: Final = 0.005
"""Seconds between two notifications of one process at least."""

_ECHO: Final = 2.0
"""Seconds after which a notification to oneself that has not come will not come."""

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


class Wakeups:
    """The thread and its connection; there are none before somebody subscribes."""

    def __init__(self, target: Target, sql: Statements, *, distributed: bool = False) -> None:
        self._connection = Connection(target, purpose="wakeups", durability="process", listens=True)
        self._changes = Changes(self._connection, sql)
        self._changes.distributed = distributed
        self._sql = sql
        self._channel = f'"everlog {target.schema}"'
        self._subscribers: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._bell: socket.socket | None = None
        self._has_written = False
        self._undecided: set[str] = set()
        """Transactions of the user's, by their ids."""
        self._calm = 0
        """How many looks have found nothing since the last that did."""
        self._closed = False
        self._listens_since = self._notified_at = 0.0
        self._hears = True
        """Whether it listens at all."""
        self._heard = False
        self._woken = False

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called after a write, of this store or another; give what ends that."""
        with self._lock:
            self._subscribers.append(wake)
            if self._thread is None and not self._closed:
                ear, self._bell = socket.socketpair()
                self._bell.setblocking(False)
                self._thread = threading.Thread(target=self._run, args=(ear,), name="everlog wakeups", daemon=True)
                self._thread.start()

        def leave() -> None:
            with self._lock:
                if wake in self._subscribers:
                    self._subscribers.remove(wake)

        return leave

    def wrote(self) -> None:
        """Tell the subscribers of this store now, and others soon; where nobody subscribed, there is nobody to tell."""
        if self._thread is None:
            return
        self._wake()
        if not self._has_written:
            self._has_written = True
            self._ring()

    def watch(self, transaction: str) -> None:
        """Do what `wrote` does as soon as a transaction of the user's has committed."""
        if self._thread is None:
            return
        with self._lock:
            self._undecided.add(transaction)
            self._calm = 0
        self._ring()

    def close(self) -> None:
        """End the thread; what was written last is still told."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._ring()
            thread.join(timeout=_LONGEST_PAUSE)
        self._connection.close()

    def _ring(self) -> None:
        bell = self._bell
        if bell is not None:
            with suppress(OSError):  # full, so it rings already; or closed, and so is the thread
                bell.send(b"!")

    def _run(self, ear: socket.socket) -> None:
        pause = _FIRST_PAUSE
        with ear:
            while not self._closed:
                try:
                    self._listen(ear)
                    pause = _FIRST_PAUSE
                except (EverlogError, psycopg.Error, OSError):
                    # The engine's own calls mostly meet the same trouble, and report it; here it is only waited for.
                    # Where they do not, as on a server that takes no more connections, they look for themselves.
                    self._connection.drop()
                    _wait(ear, pause)
                    self._wake()
                    pause = min(2 * pause, _LONGEST_PAUSE)
        if self._bell is not None:
            self._bell.close()

    def _listen(self, ear: socket.socket) -> None:
        """Use one connection until it fails or the store is closed."""
        driver = self._connection.driver()
        self._hears = not self._connection.is_pooled
        if self._hears:  # else some other connection of the server would listen, and go on to when nobody wants it
            driver.add_notify_handler(lambda heard: self._take(heard.pid == driver.info.backend_pid))
        self._listens_since, self._heard = time.monotonic(), False
        if self._hears:
            driver.execute(f"LISTEN {self._channel}".encode())
        self._notify(driver)  # its echo, which says that notifications arrive, mostly comes before this returns
        self._changes.lose_sight()
        self._changes.look()
        self._wake()  # whatever was written while nobody listened
        last_looked, self._calm = time.monotonic(), 0
        with selectors.DefaultSelector() as selector:
            selector.register(driver.fileno(), selectors.EVENT_READ)
            selector.register(ear, selectors.EVENT_READ)
            number = self._changes.look()
            while not self._closed:
                interval = self._interval()
                next_look = last_looked + interval
                # What is written just after a notification waits for the next; meanwhile one hears.
                until = min(next_look, self._notified_at + _COALESCE) if self._has_written else next_look
                selector.select(max(0.0, until - time.monotonic()))
                _drain(ear)
                if self._has_written and time.monotonic() >= self._notified_at + _COALESCE:
                    self._notify(driver)
                self._hear(driver)
                if time.monotonic() - last_looked >= interval:
                    self._ask_what_became()
                    found = self._changes.look()
                    self._woken = self._woken or found != number
                    self._calm = 0 if found != number else self._calm + 1
                    last_looked, number = time.monotonic(), found
                if self._woken:
                    self._woken = False
                    self._wake()
            if self._has_written:
                self._notify(driver)

    def _ask_what_became(self) -> None:
        """Forget the transactions of users that have ended, and tell of those that have committed."""
        with self._lock:
            undecided = sorted(self._undecided)
        if not undecided:
            return
        rows = self._connection.ask(Question(self._sql.find_outcomes, {"transactions": texts(undecided)}))[0]
        ended = {transaction: outcome for transaction, outcome in rows if outcome != "in progress"}
        with self._lock:
            self._undecided.difference_update(ended)
        if any(outcome != "aborted" for outcome in ended.values()):
            self._has_written = self._woken = True

    def _interval(self) -> float:
        calm = self._calm
        if not self._undecided and self._hears and (self._heard or time.monotonic() - self._listens_since < _ECHO):
            return LOOK_ANYWAY
        return min(LOOK_OFTEN * (1 + calm / 50), LOOK_SELDOM)

    def _notify(self, driver: Driver) -> None:
        self._has_written = False
        driver.execute(f"NOTIFY {self._channel}".encode())
        self._notified_at = time.monotonic()

    def _hear(self, driver: Driver) -> None:
        driver.pgconn.consume_input()
        while (heard := driver.pgconn.notifies()) is not None:
            self._take(heard.be_pid == driver.info.backend_pid)

    def _take(self, own: bool) -> None:
        self._heard = True
        self._woken = self._woken or not own

    def _wake(self) -> None:
        with self._lock:
            subscribers = list(self._subscribers)
        for wake in subscribers:
            wake()


def _wait(ear: socket.socket, seconds: float) -> None:
    ear.settimeout(seconds)
    with suppress(OSError):
        ear.recv(4096)


def _drain(ear: socket.socket) -> None:
    ear.setblocking(False)
    with suppress(BlockingIOError):
        ear.recv(4096)
