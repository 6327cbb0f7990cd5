"""Patches: which way code goes that was changed while its workflows were in flight. No store.

The first `patched(name)` of a workflow decides, for all of them: the new way where its history ends there, or has a
marker of that name; the old way where the history goes on without one, since then the old way was gone. A marker is a
row like those of values and streams: written by the next commit, before all that the commit says else. Steps that
are asked for after it begin when it is durable; so no other process can have taken the other way meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from everlog.core import events
from everlog.core.events import AnyEvent, Publication
from everlog.core.rewinding import Stored
from everlog.replay.asking import site
from everlog.replay.divergence import CannotGoOn
from everlog.replay.operations import Kind, Phase
from everlog.replay.publishing import PublishOperation

if TYPE_CHECKING:
    from everlog.replay.execution import Execution

PatchWay = Literal["old", "new", "marked", "retired"]
"""Where a workflow stands to a patch: its history went the old way; it comes to it now, and goes the new one; its
history has a marker, which code must ask for; it has one that code may pass over."""

_WRITTEN_BY_OTHERS: Final = (
    events.InputReplaced,
    events.WorkflowPlaced,
    events.WorkflowPaused,
    events.WorkflowResumed,
    events.AttributesChanged,
    events.TerminateRequested,
    events.WorkflowRewound,
    events.WorkflowForked,
)
"""What says nothing of how far the code has come."""


class PatchOperation(PublishOperation, eq=False, kw_only=True):
    """The first `patched` of a name, where the code goes the new way."""

    kind: ClassVar[Kind] = "patch"
    is_retired: bool = False

    def row(self) -> Publication:
        return events.PatchMarked(operation=self.identity, patch=self.target, retired=self.is_retired)

    def is_said_by(self, event: Publication) -> bool:
        return isinstance(event, events.PatchMarked) and event.patch == self.target

    def name(self) -> str:
        return "patched"


class Patches:
    """What one workflow has decided, since it began or last continued as new."""

    def __init__(self) -> None:
        self._marked: dict[str, bool] = {}
        """The markers of the history that is replayed, and whether they are retired."""
        self._until = 0
        """The seq of its last row that says how far the code had come."""
        self._passed: set[str] = set()
        """Retired markers that the code has passed over."""
        self.asked: dict[str, bool] = {}
        """What the code asked for, and whether it goes the new way."""
        self.retired: set[str] = set()
        """What it asked for as retired."""

    def foresee(self, rows: Iterable[Stored]) -> None:
        """Take note of what is going to be replayed."""
        for seq, _, event in rows:
            if isinstance(event, events.PatchMarked):
                self._marked[event.patch] = event.retired
            if not isinstance(event, _WRITTEN_BY_OTHERS):
                self._until = seq

    def leave_out(self, event: AnyEvent) -> None:
        """Take note that a row of the history is not replayed: it is no marker any more."""
        if isinstance(event, events.PatchMarked):
            self._marked.pop(event.patch, None)

    def ways(self) -> dict[str, PatchWay]:
        """Give where the workflow stands to each patch that its code or its history has."""
        asked: dict[str, PatchWay] = {name: "new" if taken else "old" for name, taken in self.asked.items()}
        marked: dict[str, PatchWay] = {
            name: "retired" if retired else "marked" for name, retired in self._marked.items()
        }
        return {**asked, **marked}

    def ask(self, execution: Execution, name: str, *, retired: bool) -> bool:
        """Decide; where the code has no old way any more and the history needs it, the workflow is stuck."""
        if execution.torn_down or execution.ending:
            return self.asked.get(name, True)  # nothing can be asked for any more, on either way
        if retired:
            self.retired.add(name)
        taken = self.asked.get(name)
        if taken is None:
            taken = self.asked[name] = name in self._marked or execution.seq >= self._until
            if taken and name not in self._passed:
                self._mark(execution, name, retired)
        if retired and not taken:
            execution.broken = CannotGoOn(_retired_too_early(execution, name))
            raise execution.broken
        return taken

    def _mark(self, execution: Execution, name: str, retired: bool) -> None:
        operation = PatchOperation(
            execution, f"patched:{name}", site(5), target=name, payloads=[], declared=[], is_retired=retired
        )
        operation.phase = Phase.OPEN
        operation.applied_at = execution.loop.log_time
        execution.published.pending[operation.identity] = operation
        execution.loop.progress += 1

    def pass_over(self, event: events.PatchMarked) -> bool:
        """Tell whether a marker that the code has not asked for may be passed over, and if so do."""
        if event.retired and event.patch not in self.asked:
            self._passed.add(event.patch)
            return True
        return False


def is_marking(execution: Execution) -> bool:
    """Tell whether a marker is not yet durable: until then no step may begin."""
    return any(operation.kind == "patch" for operation in execution.published.pending.values())


def never_asked(event: events.PatchMarked) -> str:
    """Say what is wrong with code that does not ask for a patch whose marker the history has."""
    return (
        f"did not ask for patched({event.patch!r}) by here. Either this code is older than that patch, and newer code "
        "goes on with this workflow; or the call was taken out while workflows still need it: write "
        f"patched({event.patch!r}, retired=True) where it was, until `everlog check` finds no marker that needs it"
    )


def _retired_too_early(execution: Execution, name: str) -> str:
    return (
        f"workflow {execution.workflow_id!r} took the old way of patch {name!r}, and the code has only the new one any "
        f"more: patched({name!r}, retired=True). Its history is untouched. Deploy code that has both ways, "
        f"if patched({name!r}): ... else: ..., and it goes on by itself; `everlog check` tells when no open workflow "
        "needs the old one. Or fork it from before the patch."
    )
