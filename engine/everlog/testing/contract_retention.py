"""What a store promises of what it keeps and removes, as tests: `everlog.testing.RetentionConformance`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from everlog.core.retention import AuditRow
from everlog.memory import MemoryStore
from everlog.runtime.digests import content_digest, shared_digest
from everlog.store import Commit, Done, EventRow, Refused, Store, SupportsDeletion
from everlog.store_moving import SupportsMoving
from everlog.store_retention import SupportsRetention
from everlog.testing.making import BEGINNING, HOUR, commit, create, ended, events, head, held, new

BY_US = AuditRow(at=BEGINNING, by="o'hara ☃", action="pruned", said="older than 30 days: 100%")


class Retains(Store, SupportsRetention, SupportsMoving, SupportsDeletion, Protocol):
    """A store that keeps and removes."""


def done(store: Retains) -> list[tuple[str, list[str]]]:
    """Give what is on record, in order."""
    return [(row.action, list(row.workflow_ids)) for _, row in store.audit()]


def there(store: Store, *workflow_ids: str) -> list[str]:
    """Give those that are there."""
    return [one for one, found in zip(workflow_ids, store.heads(workflow_ids), strict=True) if found is not None]


class RetentionContract:
    """Holds, removals on a condition, workflows that are written anew, and the record of all that."""

    def test_only_what_ended_at_this_seq_and_is_not_held_is_removed(self, store: Retains, peer: Retains) -> None:
        for name in ("a", "b", "c", "d"):
            ended(store, name)
        create(store, new("queued"))
        held(store, "running")
        assert list(store.hold(["b", "b", "nobody"], replace(BY_US, action="held"))) == ["b"]
        asked = [("d", 2), ("c", 1), ("b", 2), ("a", 2), ("queued", 1), ("running", 1), ("nobody", 1)]
        assert list(peer.remove(asked, BY_US)) == ["a", "d"]
        assert there(store, "a", "b", "c", "d", "queued", "running") == ["b", "c", "queued", "running"]
        assert done(store) == [("held", ["b"]), ("pruned", ["a", "d"])]
        assert list(store.stray_rows()) == []

    def test_what_was_opened_again_and_has_ended_again_is_another_history(self, store: Retains) -> None:
        ended(store, "a")
        again = Commit(workflow_id="a", token=None, seq=2, state="failed", events=events(3, 4))
        assert commit(store, again) == Done()
        assert list(store.remove([("a", 2)], BY_US)) == []
        assert done(store) == []
        assert list(store.remove([("a", 4)], BY_US)) == ["a"]

    def test_who_is_held_is_removed_by_nothing_until_it_is_released(self, store: Retains, peer: Retains) -> None:
        ended(store, "a")
        held(store, "b")
        assert list(store.hold(["a", "b"], replace(BY_US, action="held"))) == ["a", "b"]
        assert list(peer.hold(["a"], replace(BY_US, action="held"))) == [], "it is held already"
        (rows,) = store.rows_of(["a"])
        assert list(peer.delete(["a"])) == []
        assert peer.rewrite(rows, BY_US) == Refused()
        assert [(one.workflow_id, one.by, one.reason) for one in peer.holds()] == [
            ("a", BY_US.by, BY_US.said),
            ("b", BY_US.by, BY_US.said),
        ]
        assert list(peer.release(["a", "nobody"], replace(BY_US, action="released"))) == ["a"]
        assert list(store.release(["a"], replace(BY_US, action="released"))) == []
        assert list(store.remove([("a", 2)], BY_US)) == ["a"]
        assert done(store) == [("held", ["a", "b"]), ("released", ["a"]), ("pruned", ["a"])]

    def test_holds_are_given_page_by_page(self, store: Retains) -> None:
        names = ["B", "a", "c", "o'hara ☃"]
        for name in names:
            ended(store, name)
        store.hold(names, BY_US)
        assert [one.workflow_id for one in store.holds(limit=2)] == ["B", "a"]
        assert [one.workflow_id for one in store.holds(after="a")] == ["c", "o'hara ☃"]
        assert [one.workflow_id for one in store.holds(["c", "nobody", "B"])] == ["B", "c"]
        assert list(store.holds([])) == []

    def test_a_workflow_is_written_anew_as_a_whole(self, store: Retains, peer: Retains) -> None:
        ended(store, "a")
        ended(store, "b")
        (rows,) = store.rows_of(["a"])
        changed: Sequence[EventRow] = [replace(row, payload=b'{"changed":true}') for row in rows.events]
        size = sum(len(row.payload) for row in changed)
        anew = replace(rows, events=changed, size=size, keys=["k"])
        assert peer.rewrite(replace(anew, head=replace(rows.head, seq=1)), BY_US) == Refused()
        assert peer.rewrite(anew, replace(BY_US, action="redacted")) == Done()
        (found,) = store.rows_of(["a"])
        assert content_digest(found) == content_digest(anew)
        assert there(store, "a", "b") == ["a", "b"]
        assert done(store) == [("redacted", ["a"])]
        assert peer.rewrite(replace(anew, head=replace(rows.head, workflow_id="nobody")), BY_US) == Refused()

    def test_the_record_is_in_order_and_says_all(self, store: Retains, peer: Retains) -> None:
        ended(store, "a")
        for number in range(5):
            (peer if number % 2 else store).hold(["a"], replace(BY_US, at=number, action="held"))
            store.release(["a"], replace(BY_US, at=number, action="released"))
        every = list(store.audit())
        assert [row.at for _, row in every] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        assert every[0][1] == AuditRow(at=0, by=BY_US.by, action="held", workflow_ids=("a",), said=BY_US.said)
        assert [number for number, _ in every] == sorted({number for number, _ in every})
        assert list(store.audit(after=every[2][0], limit=3)) == every[3:6]

    def test_holds_and_the_record_are_moved_as_well(self, store: Retains) -> None:
        source = MemoryStore(store.now)
        ended(source, "a")
        source.hold(["a"], replace(BY_US, action="held"))
        assert store.put_workflow_rows(source.workflow_rows()) == [Done()]
        for _ in range(2):
            store.put_shared_rows(source.shared_rows())
        assert content_digest(store.rows_of(["a"])[0]) == content_digest(source.rows_of(["a"])[0])
        assert shared_digest(store.shared_rows()) == shared_digest(source.shared_rows())
        assert list(store.holds()) == list(source.holds())
        assert done(store) == done(source) == [("held", ["a"])]
        assert list(store.remove([("a", head(store, "a").seq)], BY_US)) == []

    def test_one_has_the_turn_until_its_time_has_come(self, store: Retains, peer: Retains) -> None:
        later = store.now() + HOUR
        assert store.take_turn("pruning", "worker-1", until=later)
        assert not peer.take_turn("pruning", "worker-2", until=later)
        assert peer.take_turn("another", "worker-2", until=later)
        assert store.take_turn("pruning", "worker-1", until=store.now() - HOUR), "it keeps it, or gives it back"
        assert peer.take_turn("pruning", "worker-2", until=later)
        assert not store.take_turn("pruning", "worker-1", until=later)
