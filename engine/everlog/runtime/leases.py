"""Leases: keeps this worker's lease, and retires workers that are dead. On a thread and a connection of its own.

A worker is dead
- at once, where its process is known to have ended (its lock is free, or its pid is gone on this boot), or where this
  worker has retired it before and it still holds something, which another transaction had locked then;
- when its lease has run out, if this worker has itself reached the store for a whole lease while it was not renewed;
  leases that had run out when this worker started count at once.
The lease is renewed only while the engine's thread answers. A worker past its own lease starts nothing until it has
renewed; one that was retired by another registers anew, under another name, and drops what it held.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from typing import Final

from everlog.core.durations import SECOND
from everlog.errors import StoreError
from everlog.host import Host
from everlog.store import Store, SupportsMaintenance, WorkerRow

log: Final = logging.getLogger("everlog")
LOOK_AROUND: Final = 1.0
"""Seconds between two looks at the other workers, where there are some."""
LOOK_AT_PROCESSES: Final = 0.25
"""Seconds between two looks at the processes of those on this machine, which ask the store nothing."""


class LeaseKeeper:
    """Keeps one worker's lease. `pump` is driven apart from the engine's thread."""

    def __init__(
        self,
        store: Store,
        host: Host,
        *,
        worker: str,
        lease: int,
        silence: Callable[[], float],
        on_lease: Callable[[bool], None],
        on_retired: Callable[[str], None],
        on_freed: Callable[[], None],
    ) -> None:
        self._store = store
        self._host = host
        self._worker = worker
        self._lease = lease
        self._seconds = lease / SECOND
        self._silence = silence
        self._on_lease = on_lease
        self._on_retired = on_retired
        self._on_freed = on_freed
        self._renewed_at = host.monotonic()
        self._reached_since = self._looked_at = host.monotonic()
        self._held = True
        self.on_round: Callable[[], None] = lambda: None
        """What else is to be done every few seconds off the commit path; may raise `StoreError`."""
        self._first_look = True
        self._reaches = True
        self._turn = Lock()
        """One renews and looks around, or retires; else a worker that has retired would find itself declared dead."""
        self._over = False
        self._due = 0.0
        """Monotonic time of the next round."""
        self._processes: list[str] = []
        """Of the other workers, as last read."""
        self._retired: set[str] = set()
        """Workers that were retired here and may still be listed."""
        self._seen: dict[str, tuple[int, float]] = {}
        """Of each other worker: its lease as last read, and since when it has been that, by our monotonic clock."""

    def register(self) -> None:
        """Add this worker, and retire those that are dead already. Raises `StoreError`."""
        self._store.register(self._row())
        self._look_around()

    def retire(self) -> None:
        """Remove this worker, for ever; what it still holds becomes runnable for others. Raises `StoreError`."""
        with self._turn:
            self._over = True
            self._store.retire(self._worker)

    def holds(self) -> bool:
        """Tell whether this worker is within its lease, by its own clock. Callable from any thread."""
        return not self._over and self._host.monotonic() < self._renewed_at + self._seconds

    def pump(self) -> float | None:
        """Renew the lease when a third of it is over, look at the others, keep the store in order."""
        with self._turn:
            if self._over:
                return None
            if self._host.monotonic() >= self._due or any(map(self._host.is_gone, self._processes)):
                self._due = self._keep() + self._host.monotonic()
            rest = max(0.0, self._due - self._host.monotonic())
            return min(rest, LOOK_AT_PROCESSES) if self._processes else rest

    def _keep(self) -> float:
        try:
            self._renew()
            self._look_around()
            self.on_round()
            if isinstance(self._store, SupportsMaintenance):
                self._store.maintain()
            self._reaches = True
        except StoreError as error:
            if self._reaches:
                log.warning("worker %s cannot reach its lease: %s", self._worker, error)
            self._reaches = False
            self._reached_since = self._host.monotonic()
        self._check_own_lease()
        return min(LOOK_AROUND if self._seen or self._retired else float("inf"), self._lease / SECOND / 4)

    def _row(self) -> WorkerRow:
        return WorkerRow(worker=self._worker, process=self._host.process(), lease_until=self._store.now() + self._lease)

    def _renew(self) -> None:
        at, was_held = self._host.monotonic(), self.holds()
        if (at - self._renewed_at) * SECOND < self._lease / 3 or self._silence() * SECOND > self._lease / 2:
            return
        if self._store.renew(self._worker, lease_until=self._store.now() + self._lease):
            self._renewed_at = at
            if not was_held:
                self._on_lease(True)
            return
        log.warning("worker %s was declared dead by another; it registers anew", self._worker)
        self._worker = f"worker-{self._host.token()[:16]}"
        self._store.register(self._row())
        self._renewed_at = at
        self._on_retired(self._worker)

    def _check_own_lease(self) -> None:
        held = self.holds()
        if held != self._held:
            self._held = held
            self._on_lease(held)

    def _look_around(self) -> None:
        now, at = self._store.now(), self._host.monotonic()
        if (at - self._looked_at) * SECOND > self._lease / 2:
            self._reached_since = at  # this process stood still, and so may the others have done
        self._looked_at = at
        freed = 0
        retired: set[str] = set()
        seen: dict[str, tuple[int, float]] = {}
        processes: list[str] = []
        for row in self._store.workers():
            if row.worker == self._worker:
                continue
            lease_until, since = self._seen.get(row.worker, (None, at))
            seen[row.worker] = (row.lease_until, since if lease_until == row.lease_until else at)
            if self._is_dead(row, now, at - max(seen[row.worker][1], self._reached_since)):
                log.info("worker %s is dead; its workflows are taken over", row.worker)
                freed += self._store.retire(row.worker)
                retired.add(row.worker)
                del seen[row.worker]
            else:
                processes.append(row.process)
        self._seen, self._retired, self._processes = seen, retired, processes
        self._first_look = False
        if freed:
            self._on_freed()

    def _is_dead(self, row: WorkerRow, now: int, watched: float) -> bool:
        if row.gone or row.worker in self._retired or self._host.is_gone(row.process):
            return True
        return row.lease_until < now and (self._first_look or watched * SECOND >= self._lease)
