"""The queue book: what an engine or client knows of the queues of its store. On the engine's thread; it admits nothing.

What code declares is written to the store when it is first used. What others change is read again after they have
written, at most once in `PAUSE`: who admits and who limits is the store, so what is known here may be a little old.
"""

from __future__ import annotations

import logging
from typing import Final

from everlog.core.queues import QueueLimits, QueueRow
from everlog.errors import UsageError
from everlog.host import Host
from everlog.replay.queues import Queue
from everlog.store import Store, SupportsQueues

log: Final = logging.getLogger("everlog")
PAUSE: Final = 1.0
"""Seconds between two readings, save where something is to be found that is not known."""


class QueueBook:
    """The queues of a store, as they were last read."""

    def __init__(self, store: Store, host: Host) -> None:
        self._store = store
        self._host = host
        self.rows: dict[str, QueueRow] = {}
        self._declared: dict[str, QueueLimits] = {}
        self._to_declare: dict[str, QueueLimits] = {}
        self._is_old = isinstance(store, SupportsQueues)
        self._read_at = float("-inf")

    def store(self) -> SupportsQueues:
        """Give the store; `UsageError` where it has no queues."""
        store = self._store
        if not isinstance(store, SupportsQueues):
            raise UsageError(f"this store has no queues: {type(store).__name__} is no SupportsQueues")
        return store

    def declare_later(self, queue: Queue) -> None:
        """Have a queue declared at the next look; a store that has none refuses it to whoever uses it."""
        if isinstance(self._store, SupportsQueues):
            self._to_declare[queue.name] = queue.limits

    def need(self, queue: Queue) -> None:
        """Have a queue declared at the next look, if it is not as it is declared here."""
        if self._declared.get(queue.name) != queue.limits or queue.name not in self.rows:
            self.declare_later(queue)

    def expects(self, name: str) -> bool:
        """Tell whether a queue was there when that was last looked for, or will be declared; from any thread."""
        return name in self.rows or name in self._to_declare

    def others_wrote(self) -> None:
        """Take note that what is known may be old."""
        self._is_old = isinstance(self._store, SupportsQueues)

    def next_look(self) -> float:
        """Give the monotonic time of the next look."""
        if self._to_declare:
            return float("-inf")
        return self._read_at + PAUSE if self._is_old else float("inf")

    def look(self) -> None:
        """Declare what is to be declared, and read what may have changed, if it is time. Raises `StoreError`."""
        if (self._to_declare or self._is_old) and self._host.monotonic() >= self.next_look():
            self._declare()
            self.read()

    def use(self, queue: Queue | str) -> QueueRow | None:
        """Give a queue, declared where it is not; None for a name that the store does not know.

        Raises `StoreError`, and `UsageError` where the store has no queues.
        """
        self.store()
        if isinstance(queue, Queue):
            name = queue.name
            if self._declared.get(name) != queue.limits or name not in self.rows:
                if self._declared.get(name, queue.limits) != queue.limits:
                    log.warning("queue %r is declared twice, with different limits; now as %r", name, queue)
                self._to_declare[name] = queue.limits
                self._declare()
                self.read()
        else:
            name = queue
            if name not in self.rows:
                self._declare()
                self.read()
        return self.rows.get(name)

    def _declare(self) -> None:
        if self._to_declare:
            self.store().declare_queues(list(self._to_declare.items()))
            self._declared.update(self._to_declare)
            self._to_declare.clear()

    def read(self) -> None:
        """Read all queues, now. Raises `StoreError`."""
        self._is_old = False  # what is written from here on is noted again
        try:
            self.rows = {row.name: row for row in self.store().queues()}
        except BaseException:
            self._is_old = True
            raise
        self._read_at = self._host.monotonic()


def unknown_queue(name: str) -> str:
    """Say that there is no queue of that name, and what to do."""
    return (
        f"there is no queue {name!r} in this store: give the Queue itself instead of its name, or open an engine that "
        "declares it, with queues=[...]"
    )
