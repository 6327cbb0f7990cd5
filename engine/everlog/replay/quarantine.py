"""Quarantine: code that would not be torn down. It is kept in memory, suspended, for as long as the process lives.

To be dropped, suspended code has to end, so its operations raise `TornDown`. Code that swallows it is not tried for
ever: a task that goes on asking is left waiting for ever, and what is left after three rounds of cancellation is kept
here. It must not be dropped as it is: the garbage collector would go on with it, on any thread, as nobody's code,
and what it calls then would be no operation but a plain call, with effects.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from everlog.replay.divergence import TornDown
from everlog.replay.tasks import WorkflowTask

if TYPE_CHECKING:
    from everlog.replay.execution import Execution

log: Final = logging.getLogger("everlog")
SWALLOWED: Final = 3
"""So often a workflow that is being dropped is cancelled before it is given up."""
MOST_REFUSALS: Final = 100
"""So often may one task ask for something meanwhile before it is left waiting: its `finally` blocks may nest."""
NAMED: Final = 10
"""So many are named in the log, one by one; of the others only every hundredth, with the number."""

_kept: Final[list[Execution]] = []
_known: Final[set[tuple[str, object]]] = set()
"""Of each its id, and what is its engine's own: another engine may have another store, with the same ids."""


def refuse_operation(execution: Execution) -> None:
    """Raise `TornDown` in code that is being dropped; return where its task swallows that: it is to wait for ever."""
    task = asyncio.current_task(execution.loop)
    if isinstance(task, WorkflowTask):
        task.refusals += 1
        if task.refusals > MOST_REFUSALS:
            return
    raise TornDown


def keep_aside(execution: Execution) -> None:
    """Keep a workflow that would not end, for ever, and say so."""
    _kept.append(execution)
    _known.add((execution.workflow_id, execution.environment.run_strand))
    number = len(_kept)
    if number <= NAMED or number % 100 == 0:
        log.warning(
            "workflow %r swallowed its teardown %d times; its code is kept aside in memory, suspended%s, and nothing "
            "that it does is recorded (%d such are kept in this process); let BaseException pass",
            execution.workflow_id,
            SWALLOWED,
            f", with {len(execution.strands)} threads" if execution.strands else "",
            number,
        )


def was_kept_aside(execution: Execution) -> bool:
    """Tell whether its engine has kept code of this workflow aside before: dropping it again would add to that."""
    return (execution.workflow_id, execution.environment.run_strand) in _known


def kept_aside() -> int:
    """Give how many workflows are kept aside in this process."""
    return len(_kept)
