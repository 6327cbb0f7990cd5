"""Calls: in tests, the guards also see what cannot be exchanged in production: `datetime.now` and earlier imports.

    def test_checkout_is_deterministic() -> None:
        with watch_calls():
            host.run(main())

Every call into C of workflow code is looked at, by a profiler that runs during drains; that takes time, and is for
tests only. Engines that are opened in the block follow.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import date
from inspect import unwrap
from types import FrameType
from typing import Any, Final, Literal

from everlog.replay.context import active
from everlog.replay.guards import CHANCE, CLOCK, IN_A_STEP, install_guards, notice
from everlog.replay.loop import WorkflowLoop

_NOW: Final = frozenset({"now", "today", "utcnow"})
_CLOCKS: Final = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
_DRAW: Final[Any] = unwrap(random.random)
_SHARED: Final = _DRAW.__self__
_FILES: Final = ("access", "lstat", "readlink", "stat", "statvfs")


@contextmanager
def watch_calls(guards: Literal["warn", "raise"] = "raise") -> Generator[None]:
    """Have workflow code warned or refused, as by `Engine(guards=...)`, wherever it reads a clock, chance or files."""
    remove = install_guards(guards)
    loops: Any = WorkflowLoop
    original = loops.drain
    known = _functions()

    def profile(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and active.execution is not None:
            found = known.get(id(function)) or _method(function)
            if found is not None:
                notice(*found, frame)

    def drain(loop: WorkflowLoop, first: Callable[[], object] | None = None) -> None:
        before = sys.getprofile()
        sys.setprofile(profile)
        try:
            original(loop, first)
        finally:
            sys.setprofile(before)

    loops.drain = drain  # so that nothing is paid for it in production
    try:
        yield
    finally:
        loops.drain = original
        remove()


def _functions() -> dict[int, tuple[str, str]]:
    """Give name and advice of builtin functions, by their identity: they may have been imported under any name."""
    known: dict[int, tuple[str, str]] = {}
    for module, names, advice in ((time, _CLOCKS, CLOCK), (os, _FILES, IN_A_STEP), (os, ("urandom",), CHANCE)):
        for name in [*names, *(f"{name}_ns" for name in names)]:
            function = unwrap(getattr(module, name, None) or len)
            known[id(function)] = (f"{module.__name__}.{name}", advice)
    del known[id(len)]
    return known


def _method(function: Any) -> tuple[str, str] | None:
    """Recognise a method by what it is bound to: the class of dates, or the generator that `random` shares."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type) and issubclass(owner, date) and function.__name__ in _NOW:
        return f"{owner.__name__}.{function.__name__}", CLOCK
    if owner is _SHARED:
        return f"random.{function.__name__}", CHANCE
    return None
