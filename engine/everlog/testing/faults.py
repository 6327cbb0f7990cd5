"""FaultyStore: any store, failing on purpose at a chosen commit. It decides when to fail, never what is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from everlog.errors import StoreUnavailable
from everlog.store import (
    Attributes,
    Batch,
    BatchOutcome,
    ClaimAnswer,
    ClaimRequest,
    EventRow,
    FoundValue,
    Head,
    InboxRow,
    Store,
    StreamEnd,
    StreamPage,
    StreamQuestion,
    SupportsDeletion,
    SupportsFinding,
    SupportsStreams,
    SupportsValues,
    ValueRow,
    WorkerRow,
    WorkflowCount,
    WorkflowQuery,
)


class Crash(BaseException):
    """The process died here. Not an `Exception`: nothing of the program may handle it and live on."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What happens at a commit, counted from 1.

    - `unavailable` before: nothing was written, and the caller knows it.
    - `unavailable` after: all of it is durable, and the caller hears that this is not known.
    - `crash` before or after: from then on every call raises `Crash`, as nothing of a dead process reaches a store.
    """

    commit: int
    when: Literal["before", "after"]
    kind: Literal["unavailable", "crash"] = "unavailable"


class FaultyStore:
    """Passes everything on to `store`, save at the commits that the faults name. `commits` counts them."""

    def __init__(self, store: Store, *faults: Fault) -> None:
        self.store = store
        self.commits = 0
        self.faults = list(faults)
        self.crashed = False

    def now(self) -> int:
        """Pass on."""
        return self._living().now()

    def commit(self, batch: Batch) -> BatchOutcome:
        """Pass on, and fail before or after where a fault says so."""
        store = self._living()
        self.commits += 1
        self._fail("before")
        outcome = store.commit(batch)
        self._fail("after")
        return outcome

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        """Pass on."""
        return self._living().claim(request)

    def read(self, workflow_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[EventRow]:
        """Pass on."""
        return self._living().read(workflow_id, after=after, limit=limit)

    def heads(self, workflow_ids: Sequence[str]) -> Sequence[Head | None]:
        """Pass on."""
        return self._living().heads(workflow_ids)

    def workflows(self, query: WorkflowQuery) -> Sequence[Head]:
        """Pass on."""
        return self._living().workflows(query)

    def unread(self, worker: str, *, after: int = 0) -> Sequence[InboxRow]:
        """Pass on."""
        return self._living().unread(worker, after=after)

    def values(self, workflow_id: str) -> Sequence[ValueRow]:
        """Pass on."""
        return self._with_values().values(workflow_id)

    def find_values(self, wanted: Sequence[tuple[str, str]]) -> Sequence[FoundValue]:
        """Pass on."""
        return self._with_values().find_values(wanted)

    def streams(self, workflow_id: str) -> Sequence[StreamEnd]:
        """Pass on."""
        return self._with_streams().streams(workflow_id)

    def read_streams(self, questions: Sequence[StreamQuestion], *, limit: int) -> Sequence[StreamPage]:
        """Pass on."""
        return self._with_streams().read_streams(questions, limit=limit)

    def attributes(self, workflow_ids: Sequence[str]) -> Sequence[Attributes]:
        """Pass on."""
        return self._with_finding().attributes(workflow_ids)

    def counts(self, query: WorkflowQuery) -> Sequence[WorkflowCount]:
        """Pass on."""
        return self._with_finding().counts(query)

    def changes(self) -> int:
        """Pass on."""
        return self._living().changes()

    def register(self, worker: WorkerRow) -> None:
        """Pass on."""
        self._living().register(worker)

    def renew(self, worker: str, *, lease_until: int) -> bool:
        """Pass on."""
        return self._living().renew(worker, lease_until=lease_until)

    def workers(self) -> Sequence[WorkerRow]:
        """Pass on."""
        return self._living().workers()

    def retire(self, worker: str) -> int:
        """Pass on."""
        return self._living().retire(worker)

    def delete(self, workflow_ids: Sequence[str]) -> Sequence[str]:
        """Pass on, to a store that can."""
        store = self._living()
        assert isinstance(store, SupportsDeletion), f"{type(store).__name__} cannot delete workflows"
        return store.delete(workflow_ids)

    def close(self) -> None:
        """Close the store underneath, unless it crashed: the dead close nothing."""
        if not self.crashed:
            self.store.close()

    def _living(self) -> Store:
        if self.crashed:
            raise Crash("the process of this store has crashed; open the database anew")
        return self.store

    def _with_values(self) -> SupportsValues:
        store = self._living()
        if not isinstance(store, SupportsValues):
            raise TypeError(f"{store!r} keeps no values, so there are none to ask for")
        return store

    def _with_finding(self) -> SupportsFinding:
        store = self._living()
        if not isinstance(store, SupportsFinding):
            raise TypeError(f"{store!r} keeps no attributes, so there are none to ask for")
        return store

    def _with_streams(self) -> SupportsStreams:
        store = self._living()
        if not isinstance(store, SupportsStreams):
            raise TypeError(f"{store!r} keeps no streams, so there are none to ask for")
        return store

    def _fail(self, when: Literal["before", "after"]) -> None:
        for fault in self.faults:
            if (fault.commit, fault.when) != (self.commits, when):
                continue
            if fault.kind == "crash":
                self.crashed = True
                raise Crash(f"a crash {when} commit {self.commits}, as the test asked for")
            raise StoreUnavailable(
                f"the store failed {when} commit {self.commits}, as the test asked for", unknown_outcome=when == "after"
            )
