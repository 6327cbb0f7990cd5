"""The part of the port for retention: `SupportsRetention`. What keeps workflows, removes them, and who did it.

What is removed is removed on a condition, as what is committed is: that the workflow has ended with just the history
that was looked at, and archived perhaps, and that nobody holds it. So it does no harm where two do this at once, or one
goes on who should have stopped; the turn (`take_turn`) only spares them the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from everlog.core.retention import Action as Action
from everlog.core.retention import AuditRow as AuditRow
from everlog.core.retention import HoldRow as HoldRow
from everlog.store import Done, Refused
from everlog.store_moving import WorkflowRows


@runtime_checkable
class SupportsRetention(Protocol):
    """A store whose workflows can be held, removed on a condition, and written anew. It may be called on any thread.

    `audit` says who does it, when and why; its `workflow_ids` are put in by the store: those that it was done to. The
    row is written in the same transaction, and not where it was done to none.
    """

    def hold(self, workflow_ids: Sequence[str], audit: AuditRow) -> Sequence[str]:
        """Hold those that are there and not held yet; give their ids. From then on nothing removes or rewrites them.

        It takes effect before or after whatever removes them, never amid it: who is given here is there and stays.
        """
        ...

    def release(self, workflow_ids: Sequence[str], audit: AuditRow) -> Sequence[str]:
        """Take the holds of these workflows back; give the ids of those that were held."""
        ...

    def holds(
        self, workflow_ids: Sequence[str] | None = None, *, after: str = "", limit: int = 100
    ) -> Sequence[HoldRow]:
        """Give one page of holds, all or those of these workflows, in order of their ids after this one."""
        ...

    def remove(self, ended: Sequence[tuple[str, int]], audit: AuditRow) -> Sequence[str]:
        """Remove those that have ended at this seq and are not held, as `delete` does; give their ids, sorted."""
        ...

    def rewrite(self, rows: WorkflowRows, audit: AuditRow) -> Done | Refused:
        """Write all of a workflow in the place of what is there, if that has ended at the same seq and is not held."""
        ...

    def audit(self, *, after: int = 0, limit: int = 100) -> Sequence[tuple[int, AuditRow]]:
        """Give one page of what was done, in order, each with its number; those with greater numbers than `after`."""
        ...

    def take_turn(self, what: str, holder: str, *, until: int) -> bool:
        """Take a turn, or keep it: False while another has it, whose time `until` has not come yet by `now()`."""
        ...
