"""Wake-ups: a thread that hears when other processes have written to the file, and those subscribe who want to know.

Bells are only hints: one may be lost with the process that was to ring it, and who writes to the file by other means
rings none. So the thread also looks at the write-ahead log by itself, rarely; and often where it has no bell.

A transaction of the user's, in which this process wrote, rings no bell when it commits. So as long as there is one, the
thread looks whether it is still open, and then rings.
"""

from __future__ import annotations

import os
import selectors
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from everlog_sqlite.bells import Bells
from everlog_sqlite.changes import ANYWAY, SETTLING, LogFile

LOOK_SELDOM: Final = 0.8 * SETTLING
"""Seconds between two looks of one who hears: less than it takes at the most until what was written is visible."""

LOOK_OFTEN: Final = 0.02
"""Seconds between two looks of one who does not hear, or while a transaction of the user's is open."""

_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.02
"""Seconds between two wake-ups by bells: longer while they go on ringing, as those of a busy process do."""


class Wakeups:
    """The thread; there is none before somebody subscribes."""

    def __init__(self, bells: Bells, log: LogFile) -> None:
        self._bells = bells
        self._log = log
        self._subscribers: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._call: socket.socket | None = None
        self._open: list[sqlite3.Connection] = []
        """Connections of the user's with a transaction in which something was written."""
        self._closed = False
        self._woke_at = 0.0

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called after a write, of this store or another; give what ends that."""
        with self._lock:
            self._subscribers.append(wake)
            if self._thread is None and not self._closed:
                called, self._call = socket.socketpair()
                self._call.setblocking(False)
                bell = self._bells.hang()  # before this returns, so that nothing is missed from then on
                self._thread = threading.Thread(
                    target=self._run, args=(called, bell), name="everlog wakeups", daemon=True
                )
                self._thread.start()

        def leave() -> None:
            with self._lock:
                if wake in self._subscribers:
                    self._subscribers.remove(wake)

        return leave

    def wrote(self) -> None:
        """Tell the subscribers of this store, and those of others."""
        self._bells.ring()
        self._wake()

    def watch(self, connection: sqlite3.Connection) -> None:
        """Do what `wrote` does as soon as the transaction of the user's that is open has ended."""
        with self._lock:
            if self._call is None or connection in self._open:
                return
            self._open.append(connection)
        self._interrupt()

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._interrupt()
            thread.join(timeout=2)
        self._bells.close()

    def _interrupt(self) -> None:
        call = self._call
        if call is not None:
            with suppress(OSError):  # full, so it is heard already; or closed, and so is the thread
                call.send(b"!")

    def _run(self, called: socket.socket, bell: int | None) -> None:
        with called, selectors.DefaultSelector() as selector, selectors.DefaultSelector() as only_called:
            called.setblocking(False)
            for one in (selector, only_called):
                one.register(called, selectors.EVENT_READ)
            if bell is not None:
                selector.register(bell, selectors.EVENT_READ)
            pause, looked_at = _FIRST_PAUSE, 0.0
            while not self._closed:
                interval = LOOK_SELDOM if bell is not None and not self._open else LOOK_OFTEN
                heard = {key.fd for key, _ in selector.select(max(0.0, looked_at + interval - time.monotonic()))}
                _drain(called)
                at = time.monotonic()
                if at - looked_at >= interval:
                    looked_at = at
                    self._look(at)
                if bell not in heard:
                    pause = _FIRST_PAUSE
                    continue
                _empty(bell)
                self._wake()
                only_called.select(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        if self._call is not None:
            self._call.close()

    def _look(self, at: float) -> None:
        with self._lock:
            ended = [connection for connection in self._open if not _is_open(connection)]
            self._open = [connection for connection in self._open if connection not in ended]
        if ended:
            self._bells.ring()
        if ended or self._log.may_tell(at) or at - self._woke_at >= ANYWAY:
            self._wake()

    def _wake(self) -> None:
        self._woke_at = time.monotonic()
        with self._lock:
            subscribers = list(self._subscribers)
        for wake in subscribers:
            wake()


def _is_open(connection: sqlite3.Connection) -> bool:
    try:
        return connection.in_transaction
    except sqlite3.ProgrammingError:  # it was closed, and the transaction with it
        return False


def _drain(called: socket.socket) -> None:
    with suppress(BlockingIOError):
        called.recv(4096)


def _empty(bell: int) -> None:
    with suppress(BlockingIOError):
        os.read(bell, 65_536)
