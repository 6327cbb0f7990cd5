"""Quarantine: code that would not be torn down. It is kept in memory, suspended, for as long as the process lives.

To be dropped, suspended code has to end, so its operations raise `TornDown`. Code that swallows it is not tried for
ever: what a task asks for after three of them waits for ever, and what is left after three rounds of cancellation is
kept here. It must not be dropped as it is: the garbage collector would go on with it, on any thread, as nobody's code,
and what it calls then would be no operation but a plain call, with effects.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from everlog.errors import WrongContext
from everlog.replay.context import active
from everlog.replay.divergence import TornDown

if TYPE_CHECKING:
    from everlog.replay.execution import Execution

log: Final = logging.getLogger("everlog")
SWALLOWED: Final = 3
"""So often `TornDown` is raised in one task, and so often a workflow is cancelled, before it is given up."""
NAMED: Final = 10
"""So many are named in the log, one by one; of the others only every hundredth, with the number."""

_kept: Final[list[Execution]] = []


def refuse_operation(execution: Execution) -> None:
    """Raise `TornDown` in code that is being dropped; return where its task swallows that: it is to wait for ever."""
    task = asyncio.current_task(execution.loop)
    number = execution.refusals[task] = execution.refusals.get(task, 0) + 1
    if number <= SWALLOWED:
        raise TornDown


def keep_aside(execution: Execution) -> None:
    """Keep a workflow that would not end, for ever, and say so."""
    _kept.append(execution)
    number = len(_kept)
    if number <= NAMED or number % 100 == 0:
        log.warning(
            "workflow %r swallowed its teardown %d times; its code is kept aside in memory, suspended, and nothing "
            "that it does is recorded (%d such are kept in this process); let BaseException pass",
            execution.workflow_id,
            SWALLOWED,
            number,
        )


def kept_aside() -> int:
    """Give how many workflows are kept aside in this process."""
    return len(_kept)


class _Collector:
    """Stands for the workflow while the garbage collector runs amid its code: a finaliser is nobody's code."""

    def __getattr__(self, name: str) -> NoReturn:
        raise WrongContext(
            "a finaliser that the garbage collector ran (__del__, or the finally of a generator) asked for something "
            "durable: it runs at any time, in any workflow; use try/finally or a context manager in the workflow"
        )


_collector: Final[Any] = _Collector()


def _around_collection(phase: Literal["start", "stop"], info: dict[str, int]) -> None:
    if phase == "start" and active.execution is not None:
        active.amid, active.execution = active.execution, _collector
    elif phase == "stop" and active.execution is _collector:
        active.execution, active.amid = active.amid, None


def is_collecting() -> bool:
    """Tell whether the garbage collector runs amid the code of a workflow, on this thread."""
    return active.execution is _collector


gc.callbacks.append(_around_collection)
