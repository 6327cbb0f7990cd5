"""Threads: workflow code may start none of its own, since nothing that happens there would be recorded.

A thread does not know whose workflow it serves, so that a step that is called there would look like a plain call. What
starts threads is refused while workflow code runs; for everybody else it is as it was.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

from everlog.errors import WrongContext
from everlog.replay.context import active


@functools.cache
def refuse_own_threads() -> None:
    """Begin to refuse, for as long as the process lives. `refusals` does so for what hands work to threads."""
    original = threading.Thread.start  # noqa: TID251 - it is watched here, not used

    @functools.wraps(original)
    def start(self: Any) -> None:
        execution = active.execution
        if execution is not None:
            raise WrongContext(
                f"workflow {execution.workflow_id!r}: a thread of one's own is not for workflow code, since what runs "
                "there is neither recorded nor replayed; for many things at once there is asyncio.gather, and in "
                "blocking code sync.map and sync.submit"
            )
        original(self)

    threading.Thread.start = start  # type: ignore[method-assign]  # noqa: TID251 - so that all see it
