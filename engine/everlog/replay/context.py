"""Context: which workflow is being drained on this thread, and which attempt of a step runs in this context."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from everlog.replay.attempts import Attempt
    from everlog.replay.execution import Execution
    from everlog.replay.strands import Strand


class _Active(threading.local):
    execution: Execution | None = None
    strand: Strand | None = None


active = _Active()
"""`active.execution` is set exactly while the code of a workflow runs on this thread, `active.strand` also, where that
is blocking code."""

attempt: ContextVar[Attempt | None] = ContextVar("everlog_attempt", default=None)
"""The attempt of a step that runs in this context."""

transaction: ContextVar[object] = ContextVar("everlog_transaction", default=None)
"""The connection of the transaction in which the body of a step runs in this context."""

undoing: ContextVar[bool] = ContextVar("everlog_undoing", default=False)
"""Whether compensations run in this context."""
