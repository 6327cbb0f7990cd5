"""Budgets: which loop each thread drains, and how a drain that does not end is interrupted. No clock, no threads.

The interpreter raises an exception in another thread at that thread's next safe point, which may come late. It must
strike nothing but the code of the one workflow. So each side first says what it does and then looks at the other:

- who interrupts says so (`loop.interrupted`), then looks whether that very drain still goes on, and then sends, all
  this under a lock;
- a drain that ends says so (`loop.drained_by = None`), then looks whether somebody interrupts; if so it waits for the
  lock, and has an exception of its own take the place of what has not struck yet.

Whichever looks second sees the other, so nothing is sent once a drain has found that nobody interrupts it. A safe
point is a call or a jump back: there is none between the end of the workflow's code and the first statement of the
`finally` that ends the drain. From then on two can still strike, the one sent before and the one being sent, so that
settling is tried again twice.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Final, NoReturn

from everlog.replay.divergence import TornDown

if TYPE_CHECKING:
    from everlog.replay.loop import WorkflowLoop


class Interrupted(TornDown):
    """A drain took too long and was interrupted; its workflow is stuck. Not for workflow code to catch."""


class _Settled(Interrupted):
    """Nothing is on its way to this thread any more: there is room for one only, and this was the last."""


drains: Final[dict[int, WorkflowLoop | None]] = {}
"""By thread: the loop that it drains now, None where it drains none."""

_turn: Final = Lock()


def drain_within_budget(
    loop: WorkflowLoop,
    thread: int,
    run: Callable[[Callable[[], object] | None], None],
    first: Callable[[], object] | None,
) -> None:
    """Run `run(first)` in this thread as a drain of the loop that may be interrupted.

    What strikes, strikes before this returns.

    The order of the statements is what the safety rests on.
    """
    loop.drain_number += 1
    loop.drained_by = thread
    try:
        drains[thread] = loop
        run(first)
    finally:
        loop.drained_by = drains[thread] = None
        if loop.interrupted:
            try:
                _settle(thread)
            except _Settled:
                pass
            except Interrupted:
                try:
                    _settle(thread)
                except _Settled:
                    pass
                except Interrupted:
                    with suppress(_Settled):
                        _settle(thread)


def interrupt(loop: WorkflowLoop, thread: int, number: int, why: str) -> bool:
    """Raise `Interrupted` in the code of a loop, and have its workflow stuck; False where that drain is over or exempt.

    Called from another thread. The code may swallow it: then it may be sent again.
    """
    with _turn:
        before, loop.interrupted = loop.interrupted, True
        if loop.drained_by != thread or loop.drain_number != number or not loop.interruptible:
            loop.interrupted = before
            return False
        loop.was_interrupted(why)
        _raise_in(thread, Interrupted)
        return True


def begin_again(loop: WorkflowLoop) -> None:
    """Let a loop be drained again after it was interrupted: its workflow is being torn down."""
    with _turn:
        loop.interrupted = False


def _settle(thread: int) -> NoReturn:
    """Raise `_Settled` in this thread, in the place of whatever was sent to it and has not struck yet."""
    with _turn:
        _raise_in(thread, _Settled)
        while True:
            pass


def _raise_in(thread: int, error: type[BaseException]) -> None:
    # Never "no exception", by which the interpreter would take one back: it remembers then for ever that one is to be
    # raised, and does not find it. That slows all threads, and under Python 3.11 one that is traced stands still.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
