"""Collector: whether this thread is inside a garbage collection, which no replay can repeat. It collects nothing.

What the collector drops may have code that runs then, say the `finally` of a generator that nobody closed. Such code
must not ask for anything durable: it would do so at another moment in each run, and perhaps in another workflow.
"""

from __future__ import annotations

import gc
from threading import local
from typing import Final

from everlog.errors import WrongContext


class _Collecting(local):
    now = False


_collecting: Final = _Collecting()


def refuse_in_collector() -> None:
    """Raise `WrongContext` inside a garbage collection."""
    if _collecting.now:
        raise WrongContext(
            "the garbage collector dropped something whose clean-up asks for something durable, at a moment that no "
            "replay can repeat; close it where it is used, as by a with block"
        )


def _on_collection(phase: str, information: dict[str, int]) -> None:
    _collecting.now = phase == "start"


gc.callbacks.append(_on_collection)
