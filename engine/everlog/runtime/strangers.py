"""Strangers: workflows in the store that this engine has no code for. They are left alone; this says so, once a name.

Only the newest are looked at, so that a look costs the same in a store of any size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container
from typing import Final

from everlog.host import Host
from everlog.store import Head, Store, WorkflowQuery

log: Final = logging.getLogger("everlog")
PAUSE: Final = 10.0
"""Seconds between two looks, at the least."""
MOST: Final = 1000
"""So many workflows, the newest, are looked at."""


class Strangers:
    """Looks for workflows of unknown names that wait for somebody to run them."""

    def __init__(self, store: Store, host: Host, known: Callable[[], Container[str]]) -> None:
        self._store = store
        self._host = host
        self._known = known
        self._warned: set[str] = set()
        self._changes = -1
        self._next_look = 0.0

    def look(self) -> None:
        """Warn of each new name, if something was written since the last look. Raises `StoreError`."""
        at = self._host.monotonic()
        if at < self._next_look:
            return
        self._next_look = at + PAUSE
        changes = self._store.changes()
        if changes == self._changes:
            return
        known = self._known()
        for head in self._store.workflows(WorkflowQuery(limit=MOST)):
            if _waits_for_code(head) and head.name not in known and head.name not in self._warned:
                self._warned.add(head.name)
                log.warning(
                    "workflow %r (%r) is in this store, and this engine does not know %r: it is left alone until an "
                    "engine runs that does; import the module that defines it, register the object whose method it "
                    "is (the name behind an @), or name it in workflows=",
                    head.workflow_id,
                    head.state,
                    head.name,
                )
        self._changes = changes


def _waits_for_code(head: Head) -> bool:
    return head.token is None and head.state in ("queued", "running", "waiting")
