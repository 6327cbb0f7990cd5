"""Strangers: workflows in the store that this engine has no code for. They are left alone; this says so, once a name.

Only the newest are looked at, so that a look costs the same in a store of any size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container
from typing import Final

from everlog.core.durations import SECOND
from everlog.core.versions import told, version_of
from everlog.host import Host
from everlog.store import Head, Store, WorkflowQuery

log: Final = logging.getLogger("everlog")
PAUSE: Final = 10.0
"""Seconds between two looks, at the least."""
OVERDUE: Final = 10 * SECOND
"""So long after its wake-up time a parked workflow is one that nobody runs."""
MOST: Final = 1000
"""So many workflows, the newest, are looked at."""


class Strangers:
    """Looks for workflows of unknown names that wait for somebody to run them."""

    def __init__(self, store: Store, host: Host, known: Callable[[], Container[str]]) -> None:
        self._store = store
        self._host = host
        self._known = known
        self._warned: set[str] = set()
        self._next_look = 0.0

    def look(self) -> None:
        """Warn of each new name. Raises `StoreError`."""
        at = self._host.monotonic()
        if at < self._next_look:
            return
        self._next_look = at + PAUSE
        known, overdue = self._known(), self._store.now() - OVERDUE
        waiting: dict[str, list[Head]] = {}
        for head in self._store.workflows(WorkflowQuery(limit=MOST)):
            if _waits_for_code(head, overdue) and head.name not in known and head.name not in self._warned:
                waiting.setdefault(head.name, []).append(head)
        for name, heads in waiting.items():
            self._warned.add(name)
            if version_of(name) is None:
                what = (
                    "import the module that defines it, register the object whose method it is (the name behind an @)"
                )
            else:
                what = "run the code of that version as well, or give them another: everlog retry ID --version"
            log.warning(
                "%s in this store, such as %r (%r), for a worker that knows %s, and this engine does not know it: left "
                "alone until an engine runs that does; %s, or name it in workflows=",
                "1 workflow waits" if len(heads) == 1 else f"{len(heads)} workflows wait",
                heads[0].workflow_id,
                heads[0].state,
                told(name),
                what,
            )


def _waits_for_code(head: Head, overdue: int) -> bool:
    """Tell whether nobody runs it though it could go on; what is parked waits for something else than code."""
    if head.token is not None:
        return False
    due_long_ago = head.wake_at is not None and head.wake_at < overdue
    return head.state in ("enqueued", "queued", "running") or (head.state == "waiting" and due_long_ago)
