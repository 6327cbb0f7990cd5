"""RetentionRules: what `StoreMachine` does with holds and removals, where all of its stores have them. No machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from msgspec.structs import replace

from everlog.core.retention import AuditRow
from everlog.store import Refused
from everlog.store_moving import SupportsMoving
from everlog.store_retention import SupportsRetention
from everlog.testing.machine_stores import Stores
from everlog.testing.machine_words import IDS, WORKERS


class _Retains(SupportsRetention, SupportsMoving, Protocol):
    """A store that keeps and removes."""


_ids = st.lists(st.sampled_from((*IDS, "nobody")), max_size=4, unique=True)


class RetentionRules(Stores):
    """Holds, releases and removes workflows, and writes them anew."""

    have_retention: bool = True
    """Whether the stores have that: those whose tables are distributed refuse it."""

    def _retaining(self) -> dict[str, _Retains]:
        found: dict[str, _Retains] = {
            name: store
            for name, store in self.stores.items()
            if isinstance(store, SupportsRetention) and isinstance(store, SupportsMoving)
        }
        return found if self.have_retention and len(found) == len(self.stores) else {}

    def _by(self, said: str) -> AuditRow:
        self.time += 10
        return AuditRow(at=self.time, by="o'hara ☃", action="pruned", said=said)

    @rule(workflow_ids=_ids)
    def hold(self, workflow_ids: list[str]) -> None:
        """Hold workflows."""
        if stores := self._retaining():
            by = replace(self._by("a claim"), action="held")
            expected = list(self.model.hold(workflow_ids, by))
            for name, store in stores.items():
                assert list(store.hold(workflow_ids, by)) == expected, name

    @rule(workflow_ids=_ids)
    def release(self, workflow_ids: list[str]) -> None:
        """Release workflows."""
        if stores := self._retaining():
            by = replace(self._by("it is over"), action="released")
            expected = list(self.model.release(workflow_ids, by))
            for name, store in stores.items():
                assert list(store.release(workflow_ids, by)) == expected, name

    @rule(workflow_ids=_ids, seq_error=st.sampled_from((0, 0, 0, 1)))
    def remove(self, workflow_ids: list[str], seq_error: int) -> None:
        """Remove workflows, as they are known or not."""
        if stores := self._retaining():
            by = self._by("old")
            heads = self.model.heads(workflow_ids)
            asked = [
                (one, (0 if head is None else head.seq) + seq_error)
                for one, head in zip(workflow_ids, heads, strict=True)
            ]
            expected = list(self.model.remove(asked, by))
            for name, store in stores.items():
                assert list(store.remove(asked, by)) == expected, name

    @rule(workflow_id=st.sampled_from(IDS))
    def rewrite(self, workflow_id: str) -> None:
        """Write one anew, each store from its own rows."""
        stores, found = self._retaining(), self.model.rows_of([workflow_id])
        if stores and found:
            by = replace(self._by("redacted"), action="redacted")
            there = {name: store.rows_of([workflow_id])[0] for name, store in stores.items()}
            expected = self.model.rewrite(found[0], by)
            for name, store in stores.items():
                assert store.rewrite(there[name], by) == expected, name
            if not isinstance(expected, Refused):
                self.tokens.pop(workflow_id, None)

    @rule(holder=st.sampled_from(WORKERS), lasts=st.sampled_from((-1, 20, 500)))
    def take_turn(self, holder: str, lasts: int) -> None:
        """Take a turn."""
        if stores := self._retaining():
            expected = self.model.take_turn("pruning", holder, until=self.time + lasts)
            for name, store in stores.items():
                assert store.take_turn("pruning", holder, until=self.time + lasts) == expected, name

    @rule(after=st.none() | st.sampled_from(IDS), limit=st.integers(1, 3), some=st.none() | _ids)
    def list_holds(self, after: str | None, limit: int, some: Sequence[str] | None) -> None:
        """List a page of holds."""
        for name, store in self._retaining().items():
            expected = list(self.model.holds(some, after=after or "", limit=limit))
            assert list(store.holds(some, after=after or "", limit=limit)) == expected, name

    @invariant()
    def records_agree(self) -> None:
        """Compare all that is on record."""
        for name, store in self._retaining().items():
            expected = [row for _, row in self.model.audit(limit=10_000)]
            assert [row for _, row in store.audit(limit=10_000)] == expected, name
            assert list(store.holds()) == list(self.model.holds()), name
