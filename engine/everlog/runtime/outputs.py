"""Outputs: the workflows whose steps have published something, until it is drafted. On the engine's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from everlog.core.codec import Codec
from everlog.errors import StoreUnavailable, UsageError
from everlog.host import Host
from everlog.replay.drafting import Draft
from everlog.replay.execution import Execution
from everlog.runtime.outlets import PAUSE, Outlet
from everlog.runtime.readers import streams_of
from everlog.runtime.residents import NEVER, Resident
from everlog.store import Store


class Outputs:
    """Says when what steps publish is to be committed, and brings it there."""

    def __init__(self, codec: Codec, host: Host, store: Store) -> None:
        self._codec = codec
        self._host = host
        self._store = store
        self._waiting: dict[Resident, int] = {}
        """When each is to be committed, by the store's clock."""
        self.on_output: Callable[[Resident], None] = lambda resident: None
        """Called from any thread when the steps of a workflow begin to publish."""
        self.on_written: Callable[[str], None] = lambda workflow_id: None
        """Told of each workflow that has published something, when it is durable."""

    def resident(self, execution: Execution, token: str, seq: int) -> Resident:
        """Make a resident with its outlet."""
        outlet = Outlet(self._codec, self._host, execution.published, lambda: self.on_output(resident))
        resident: Final = Resident(execution, token=token, seq=seq, outlet=outlet)
        return resident

    def look_at(self, resident: Resident) -> None:
        """Have what has come out of a workflow's steps committed: at once, or a little after the last time."""
        if resident.outlet.is_told and not resident.lost:
            self._waiting.setdefault(resident, resident.outlet.flushed_at + PAUSE)

    def ripe(self, now: int) -> list[Resident]:
        """Give those whose time has come, once; one whose commit is under way is added again after that."""
        if not self._waiting:
            return []
        ripe = [resident for resident, due_at in self._waiting.items() if due_at <= now]
        for resident in ripe:
            del self._waiting[resident]
        return ripe

    def next(self) -> float:
        """Give the store time at which the next is ripe."""
        return min(self._waiting.values(), default=NEVER)

    def gather(self, resident: Resident, now: int) -> None:
        """Move what steps published to where it is drafted from, and learn where its streams end.

        `StoreUnavailable` where that cannot be learnt now, `UsageError` where the store keeps no streams.
        """
        published = resident.execution.published
        resident.outlet.move(now)
        self._waiting.pop(resident, None)
        if (published.parts or published.pending) and published.emits():
            store = streams_of(self._store)
            if resident.stream_ends is None:
                resident.stream_ends = {one.stream: one.length for one in store.streams(resident.workflow_id)}

    def can_gather(self, resident: Resident, now: int) -> bool:
        """Do the same where it can be done now; tell whether it was."""
        try:
            self.gather(resident, now)
        except (StoreUnavailable, UsageError):
            return False
        return True

    def written(self, resident: Resident, drafted: Draft) -> None:
        """Take note that what a draft publishes is durable."""
        if drafted.stream_ends is not None:
            resident.stream_ends = drafted.stream_ends
        self.on_written(resident.workflow_id)

    def let_go(self, resident: Resident) -> None:
        """Forget a workflow that is dropped from memory; its steps have been told."""
        self._waiting.pop(resident, None)
        resident.outlet.close()
