"""Threads: workflow code may start none of its own, since nothing that happens there would be recorded.

A thread does not know whose workflow it serves, so that a step that is called there would look like a plain call. What
starts threads, and hands work to them, is refused while workflow code runs; for everybody else it is as it was.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

from everlog.errors import WrongContext
from everlog.replay.context import active


@functools.cache
def refuse_own_threads() -> None:
    """Begin to refuse, for as long as the process lives."""
    _refuse(threading.Thread, "start", "a thread")  # noqa: TID251 - it is watched here, not used


def _refuse(owner: Any, name: str, what: str) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def refusing(*args: Any, **kwargs: Any) -> Any:
        execution = active.execution
        if execution is None:
            return original(*args, **kwargs)
        raise WrongContext(
            f"workflow {execution.workflow_id!r}: {what} of one's own is not for workflow code, since what runs there "
            "is neither recorded nor replayed; for many things at once there is asyncio.gather, and in blocking code "
            "sync.map and sync.submit"
        )

    setattr(owner, name, refusing)
