"""Collector: whether this thread is inside a garbage collection, which no replay can repeat. It collects nothing.

What the collector drops may have code that runs then, say `__del__`, or the `finally` of a generator that nobody
closed. Such code must not ask for anything durable: it would do so at another moment in each run, and perhaps in
another workflow.

The collector is watched without a line of Python: it may come by amid code in C that believes that no other thread
runs meanwhile (`ast.parse` of Python 3.11 fails with a SystemError), and Python code lets other threads run.
"""

from __future__ import annotations

import gc
from functools import partial
from operator import methodcaller
from threading import local
from typing import Final

from everlog.errors import WrongContext


class _Collecting(local):
    """Being asked for the attribute `start` or `stop`, it takes note. All of that happens in C."""

    now = False
    start = property(methodcaller("__setattr__", "now", True))
    stop = property(methodcaller("__setattr__", "now", False))


collecting: Final = _Collecting()
"""`collecting.now` tells whether this thread is inside a garbage collection."""


def is_collecting() -> bool:
    """Tell whether this thread is inside a garbage collection."""
    return collecting.now


def refuse_in_collector() -> None:
    """Raise `WrongContext` inside a garbage collection."""
    if collecting.now:
        raise WrongContext(
            "the garbage collector dropped something whose clean-up asks for something durable, at a moment that no "
            "replay can repeat; close it where it is used, as by a with block"
        )


gc.callbacks.append(partial(getattr, collecting))  # called with the phase and, as the default, what is told of it
