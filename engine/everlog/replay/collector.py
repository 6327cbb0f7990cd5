"""Collector: what a garbage collection runs amid the code of a workflow is no part of it. It collects nothing.

What the collector drops may have code that runs then: `__del__`, or the `finally` of a generator that nobody closed.
Such code must not ask for anything durable: it would do so at another moment in each run, and perhaps in another
workflow. So while a collection goes on amid the code of a workflow, a stand-in takes the place of the workflow on that
thread, and whatever is asked of it is refused. Nobody pays for that but the collection.
"""

from __future__ import annotations

import gc
from typing import Any, Final, NoReturn

from everlog.errors import WrongContext
from everlog.replay.context import active


class _Nobody:
    """Stands for the workflow amid whose code the collector runs."""

    def __getattr__(self, name: str) -> NoReturn:
        raise WrongContext(
            "the garbage collector dropped something whose clean-up asks for something durable, at a moment that no "
            "replay can repeat; close it where it is used, as by a with block"
        )


_nobody: Final[Any] = _Nobody()


def is_collecting() -> bool:
    """Tell whether a garbage collection goes on amid the code of a workflow, on this thread."""
    return active.execution is _nobody


def _on_collection(phase: str, information: dict[str, int]) -> None:
    if phase == "start" and active.execution is not None:
        active.amid, active.execution = active.execution, _nobody
    elif phase == "stop" and active.execution is _nobody:
        active.execution, active.amid = active.amid, None


gc.callbacks.append(_on_collection)
