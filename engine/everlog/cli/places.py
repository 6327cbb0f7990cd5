"""Places: which database a command looks at, and opening it without ever creating one."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from everlog.errors import NotFound, UsageError
from everlog.runtime.backends import open_store
from everlog.store import Head, Store, WorkflowQuery

VARIABLE: Final = "EVERLOG_DB"
DEFAULT: Final = "everlog.db"
SEARCHED: Final = 1000

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)


def store_url(given: str | None) -> str:
    """Give the URL that a command means: the URL or path given; else `EVERLOG_DB`; else `everlog.db` if it is here."""
    named = given or os.environ.get(VARIABLE)
    if not named:
        if not Path(DEFAULT).is_file():
            raise UsageError(
                f"which database? There is no {DEFAULT} in this directory; name a file or a URL, or set {VARIABLE}"
            )
        named = DEFAULT
    url = named if _URL.match(named) else f"sqlite:///{named}"
    if url.startswith("memory:") or url == "sqlite:///:memory:":
        raise UsageError(f"{url} lives inside the process that opened it, and cannot be seen from another; use a file")
    return url


@contextmanager
def opened(url: str) -> Generator[Store]:
    """Open an existing store for reading; the engines that run on it are not disturbed."""
    store = open_store(url, create=False)
    try:
        yield store
    finally:
        store.close()


def head_of(store: Store, workflow_id: str, url: str) -> Head:
    """Give the head of a workflow; `NotFound` with the ids that begin like it, where there are such."""
    (head,) = store.heads([workflow_id])
    if head is None:
        newest = store.workflows(WorkflowQuery(limit=SEARCHED))
        alike = [other.workflow_id for other in newest if other.workflow_id.startswith(workflow_id)][:3]
        advice = f"did you mean {' or '.join(alike)}?" if alike else f"`everlog ls {url}` lists those that are there"
        raise NotFound(f"there is no workflow {workflow_id!r} in {url}; {advice}")
    return head
