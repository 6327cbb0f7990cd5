"""Changes: a number that tells that somebody has written. It asks the table of recent writes, which is mostly empty."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from everlog_postgres.connection import Connection, Question
from everlog_postgres.snapshots import NOTHING, Snapshot, snapshot
from everlog_postgres.statements import Statements

KEPT: Final = 60.0
"""Seconds for which the rows of `writes` are kept."""

_LOOKED_TOO_LONG_AGO: Final = KEPT / 2
_MARKS_APART: Final = 15.0
_RECOVERED: Final = 60.0
"""Seconds after which everything counts as changed where transactions commit on several servers: one of them that is
down at that moment does so when it is there again, and nobody is told."""


class Changes:
    """Looks through one connection for what was written since it looked last, by anyone."""

    def __init__(self, connection: Connection, sql: Statements) -> None:
        self._connection = connection
        self._sql = sql
        self.distributed = False
        """Whether transactions commit on several servers."""
        self._changed_at = 0.0
        self._number = 0
        self._seen: Snapshot | None = None
        self._looked_at = 0.0
        self._marks: deque[tuple[float, int]] = deque()
        """Snapshots that were taken at known times: what is older than the oldest may be forgotten after a while."""
        self._forgotten = 0

    def look(self) -> int:
        """Give a number that differs from the last one if somebody has written since."""
        with self._connection.lock:
            at = time.monotonic()
            question = (self._seen or NOTHING).parameters()
            ((taken, wrote),) = self._connection.ask(Question(self._sql.look_for_writes, question))[0]
            recovered = self.distributed and at - self._changed_at > _RECOVERED
            if wrote or recovered or self._seen is None or at - self._looked_at > _LOOKED_TOO_LONG_AGO:
                self._number += 1
                self._changed_at = at
            self._seen, self._looked_at = snapshot(taken), at
            if not self._marks or at - self._marks[-1][0] > _MARKS_APART:
                self._marks.append((at, self._seen.next))
            return self._number

    def lose_sight(self) -> None:
        """Count everything as changed: the connection is a new one, and who knows what to."""
        self._seen = None

    def forget_through(self, connection: Connection) -> None:
        """Delete, through another connection, the rows older than `KEPT`, as far as this object knows their age."""
        horizon: int | None = None
        while self._marks and time.monotonic() - self._marks[0][0] > KEPT:
            horizon = self._marks.popleft()[1]
        if horizon is not None and horizon != self._forgotten:
            connection.write(Question(self._sql.forget_writes, {"from": str(self._forgotten), "to": str(horizon)}))
            self._forgotten = horizon
