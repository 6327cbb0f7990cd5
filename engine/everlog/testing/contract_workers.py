"""What a store promises of workers, readers and closing, as tests. Part of `everlog.testing.StoreConformance`."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import pytest

from everlog.errors import StoreUnavailable
from everlog.store import (
    WORKER_DIED,
    Batch,
    Commit,
    Done,
    EventRow,
    NewWorkflow,
    Store,
    SupportsWakeups,
    WorkerRow,
    WorkflowQuery,
)
from everlog.testing.making import (
    BEGINNING,
    claim,
    claimed_ids,
    commit,
    create,
    ended,
    events,
    head,
    held,
    message,
    new,
    post,
    waiting,
    worker,
)

CALLS: dict[str, Callable[[Store], object]] = {
    "commit": lambda store: store.commit(Batch()),
    "claim": lambda store: claim(store, "t"),
    "read": lambda store: store.read("order"),
    "heads": lambda store: store.heads(["order"]),
    "workflows": lambda store: store.workflows(WorkflowQuery()),
    "unread": lambda store: store.unread("worker-1"),
    "changes": lambda store: store.changes(),
    "register": lambda store: store.register(worker()),
    "renew": lambda store: store.renew("worker-1", lease_until=1),
    "workers": lambda store: store.workers(),
    "retire": lambda store: store.retire("worker-1"),
}
"""Every call that needs the database."""


class WorkerContract:
    """Workers, readers and closing."""

    def test_a_registered_worker_is_listed_with_its_lease(self, store: Store, peer: Store) -> None:
        store.register(worker("worker-1", lease_until=5))
        store.register(worker("worker-2", lease_until=6))
        for through in (store, peer):
            found = sorted(through.workers(), key=lambda one: one.worker)
            assert found == [worker("worker-1", lease_until=5), worker("worker-2", lease_until=6)]

    def test_who_holds_a_workflow_without_being_registered_is_listed_as_past_its_lease(
        self, store: Store, peer: Store
    ) -> None:
        held(store, "a", worker="worker-9")
        for through in (store, peer):
            assert list(through.workers()) == [WorkerRow(worker="worker-9", process="", lease_until=0)]
        store.retire("worker-9")
        assert list(store.workers()) == []

    def test_a_worker_of_a_living_process_is_not_gone(self, store: Store, peer: Store) -> None:
        store.register(worker("worker-1"))
        assert [one.gone for one in peer.workers()] == [False]
        assert [one.gone for one in store.workers()] == [False]

    def test_registering_again_replaces_the_row(self, store: Store) -> None:
        store.register(worker("worker-1", lease_until=5))
        again = WorkerRow(worker="worker-1", process="another process", lease_until=7)
        store.register(again)
        assert list(store.workers()) == [again]

    def test_a_registered_worker_that_holds_something_is_listed_once(self, store: Store) -> None:
        store.register(worker("worker-1", lease_until=5))
        for name in ("a", "b"):
            held(store, name)
            held(store, f"{name} of another", worker="worker-9")
        found = sorted(store.workers(), key=lambda one: one.worker)
        assert found == [
            worker("worker-1", lease_until=5),
            WorkerRow(worker="worker-9", process="", lease_until=0),
        ]

    def test_renewing_moves_the_lease(self, store: Store) -> None:
        store.register(worker("worker-1", lease_until=5))
        store.register(worker("worker-2", lease_until=6))
        assert store.renew("worker-1", lease_until=9) is True
        assert {one.worker: one.lease_until for one in store.workers()} == {"worker-1": 9, "worker-2": 6}

    def test_a_retired_worker_cannot_renew_and_must_register_anew(self, store: Store) -> None:
        store.register(worker("worker-1"))
        store.retire("worker-1")
        assert store.renew("worker-1", lease_until=9) is False
        assert list(store.workers()) == []
        store.register(worker("worker-1", lease_until=7))
        assert store.renew("worker-1", lease_until=9) is True

    def test_retire_takes_the_tokens_of_all_that_the_worker_held(self, store: Store) -> None:
        store.register(worker("worker-1"))
        tokens = {name: held(store, name) for name in ("a", "b")}
        kept = held(store, "c", worker="worker-2")
        assert store.retire("worker-1") == 2
        for name, token in tokens.items():
            assert (head(store, name).token, head(store, name).worker) == (None, None)
            assert commit(store, Commit(workflow_id=name, token=token, seq=1, state="running")) != Done()
        assert head(store, "c").token == kept
        assert sorted(claimed_ids(claim(store, "t", "u", "v"))) == ["a", "b"]

    def test_retire_counts_a_takeover_of_what_was_running_and_leaves_states_alone(self, store: Store) -> None:
        held(store, "running")
        create(store, new("queued", token="q"))
        token = held(store, "waiting")
        commit(store, Commit(workflow_id="waiting", token=token, seq=1, state="waiting", topics=["x"], wake_at=3))
        assert store.retire("worker-1") == 3
        assert [head(store, name).state for name in ("running", "queued", "waiting")] == [
            "running",
            "queued",
            "waiting",
        ]
        assert [head(store, name).takeovers for name in ("running", "queued", "waiting")] == [1, 0, 0]
        assert (head(store, "waiting").wake_at, list(head(store, "waiting").topics)) == (3, ["x"])

    def test_takeovers_add_up(self, store: Store) -> None:
        held(store, "order")
        store.retire("worker-1")
        for expected in (1, 2, 3):
            (claimed,) = claim(store, f"t{expected}").claimed
            assert claimed.head.takeovers == expected
            commit(store, Commit(workflow_id="order", token=f"t{expected}", seq=1, state="running"))
            store.retire("worker-1")

    def test_who_dies_after_another_and_has_committed_nothing_does_not_count(self, store: Store) -> None:
        held(store, "order")
        create(store, new("waiting", state="waiting", token="w"))
        for token in ("t", "u", "v"):
            store.retire("worker-1")
            assert (head(store, "order").takeovers, head(store, "order").why) == (1, WORKER_DIED)
            (claimed,) = claim(store, token).claimed
            assert (claimed.head.takeovers, claimed.head.why) == (1, WORKER_DIED)
        assert (head(store, "waiting").takeovers, head(store, "waiting").why) == (0, None)
        commit(store, Commit(workflow_id="order", token="v", seq=1, state="running"))
        assert (head(store, "order").takeovers, head(store, "order").why) == (1, None)
        store.retire("worker-1")
        assert (head(store, "order").takeovers, head(store, "order").why) == (2, WORKER_DIED)

    def test_retiring_a_worker_that_is_not_there_does_nothing(self, store: Store) -> None:
        store.register(worker("worker-1"))
        held(store, "order")
        assert store.retire("worker-2") == 0
        assert len(store.workers()) == 1
        assert head(store, "order").token is not None

    def test_leases_are_renewed_while_others_commit(self, store: Store) -> None:
        store.register(worker("worker-1"))
        token = held(store, "order")
        renewed: list[bool] = []

        def renew() -> None:
            renewed.extend(store.renew("worker-1", lease_until=BEGINNING + number) for number in range(20))

        thread = Thread(target=renew)
        thread.start()
        for seq in range(1, 60):
            one = Commit(workflow_id="order", token=token, seq=seq, state="running", events=events(seq + 1, seq + 1))
            assert commit(store, one) == Done()
        thread.join()
        assert renewed == [True] * 20
        assert [one.lease_until for one in store.workers()] == [BEGINNING + 19]

    def test_read_gives_the_events_after_a_seq_up_to_a_limit(self, store: Store) -> None:
        create(store, new("order", seq=9))
        create(store, new("other", seq=4))
        assert list(store.read("order")) == events(1, 9)
        assert list(store.read("order", after=6)) == events(7, 9)
        assert list(store.read("order", after=2, limit=3)) == events(3, 5)
        assert list(store.read("order", limit=0)) == []
        assert list(store.read("order", after=9)) == []
        assert list(store.read("unknown")) == []

    def test_a_very_long_history_is_read_whole(self, store: Store) -> None:
        rows = [EventRow(seq, "happened", seq, b'"' + b"x" * 50_000 + b'"') for seq in range(1, 301)]
        create(store, NewWorkflow(workflow_id="order", name="checkout", state="queued", events=rows))
        assert list(store.read("order")) == rows
        assert list(claim(store, "t").claimed[0].history) == rows

    def test_heads_come_in_the_order_asked_and_none_where_there_is_none(self, store: Store) -> None:
        create(store, new("a"))
        create(store, new("b", seq=2))
        found = [None if one is None else one.workflow_id for one in store.heads(["b", "x", "a", "b"])]
        assert found == ["b", None, "a", "b"]
        assert list(store.heads([])) == []

    def test_workflows_are_listed_newest_creation_first_page_by_page(self, store: Store) -> None:
        ids = [f"order-{number}" for number in (3, 6, 0, 5, 1, 4, 2)]
        for age, workflow_id in enumerate(ids):
            _create_at(store, workflow_id, BEGINNING + age)
        pages: list[list[str]] = []
        after: tuple[int, str] | None = None
        for _ in range(4):
            page = store.workflows(WorkflowQuery(after=after, limit=3))
            pages.append([one.workflow_id for one in page])
            after = (page[-1].created_at, page[-1].workflow_id) if page else after
        assert pages == [ids[6:3:-1], ids[3:0:-1], ids[:1], []]

    def test_a_listing_can_begin_with_the_oldest(self, store: Store) -> None:
        for age, workflow_id in enumerate(("b", "a", "d", "c")):
            _create_at(store, workflow_id, BEGINNING + age // 2)
        first = store.workflows(WorkflowQuery(newest_first=False, limit=3))
        assert [one.workflow_id for one in first] == ["a", "b", "c"]
        after = (first[-1].created_at, first[-1].workflow_id)
        rest = store.workflows(WorkflowQuery(newest_first=False, limit=3, after=after))
        assert [one.workflow_id for one in rest] == ["d"]

    def test_a_page_follows_one_whose_last_is_gone(self, store: Store) -> None:
        for age, workflow_id in enumerate(("a", "b", "c")):
            _create_at(store, workflow_id, BEGINNING + 2 * age)
        assert _listed(store, WorkflowQuery(after=(BEGINNING + 3, "gone"))) == {"a", "b"}
        assert _listed(store, WorkflowQuery(after=(BEGINNING + 3, "gone"), newest_first=False)) == {"c"}

    def test_a_listing_can_be_of_some_ids_and_times(self, store: Store) -> None:
        ids = ("order", "order-1", "order-2", "orders", "ordeq", "Order-1", "order-\U0010ffff", "order-\U0010ffffx")
        for age, workflow_id in enumerate(ids):
            _create_at(store, workflow_id, BEGINNING + age)
        assert _listed(store, WorkflowQuery(id_prefix="order-")) == {"order-1", "order-2", *ids[6:]}
        assert _listed(store, WorkflowQuery(id_prefix="order-\U0010ffff")) == set(ids[6:])
        assert _listed(store, WorkflowQuery(id_prefix="order")) == set(ids) - {"ordeq", "Order-1"}
        between = WorkflowQuery(created_from=BEGINNING + 1, created_until=BEGINNING + 3)
        assert _listed(store, between) == {"order-1", "order-2"}
        ended(store, "old")
        end = head(store, "old").ended_at
        assert end is not None
        assert _listed(store, WorkflowQuery(ended_from=end)) == {"old"}
        assert _listed(store, WorkflowQuery(ended_until=end + 1)) == {"old"}
        assert _listed(store, WorkflowQuery(ended_from=end + 1)) == set()
        assert _listed(store, WorkflowQuery(ended_until=end)) == set()

    def test_pages_of_workflows_of_the_same_age_leave_none_out(self, store: Store) -> None:
        ids = {f"order-{number}" for number in range(7)}
        for workflow_id in ids:
            _create_at(store, workflow_id, BEGINNING)
        found: list[str] = []
        for _ in range(4):
            after = (BEGINNING, found[-1]) if found else None
            page = store.workflows(WorkflowQuery(after=after, limit=2))
            found.extend(one.workflow_id for one in page)
        assert len(found) == 7
        assert set(found) == ids

    def test_a_listing_can_be_of_some_states_and_names(self, store: Store) -> None:
        _create_at(store, "a", BEGINNING)
        _create_at(store, "b", BEGINNING + 1, name="report")
        ended(store, "c", "failed")
        ended(store, "d", "cancelled")
        assert _listed(store, WorkflowQuery(states=["queued"])) == {"a", "b"}
        assert _listed(store, WorkflowQuery(states=["failed", "cancelled"])) == {"c", "d"}
        assert _listed(store, WorkflowQuery(names=["report"])) == {"b"}
        assert _listed(store, WorkflowQuery(states=["queued"], names=["checkout"])) == {"a"}
        assert _listed(store, WorkflowQuery(states=[])) == set()
        assert _listed(store, WorkflowQuery(names=[])) == set()
        assert _listed(store, WorkflowQuery()) == {"a", "b", "c", "d"}

    def test_changes_differs_after_another_wrote(self, store: Store, peer: Store) -> None:
        seen = [store.changes()]
        create(peer, new("order", state="running", token="t"))
        seen.append(store.changes())
        post(peer, message("order"))
        seen.append(store.changes())
        commit(peer, Commit(workflow_id="order", token="t", seq=1, state="running", events=events(2, 2)))
        seen.append(store.changes())
        assert len(set(seen)) == 4

    def test_asking_changes_nothing(self, store: Store, peer: Store) -> None:
        """Otherwise two engines that look for work would keep each other awake."""
        waiting(store, "order", topics=["news"])
        before = store.changes(), peer.changes()
        for through in (store, peer):
            claim(through, "t")
            through.heads(["order"])
            through.unread("worker-1")
            through.workflows(WorkflowQuery())
        assert (store.changes(), peer.changes()) == before

    def test_subscribers_are_woken_by_writes_until_they_leave(self, store: Store, peer: Store) -> None:
        """Of stores that offer it; the others are asked for `changes`."""
        if not isinstance(store, SupportsWakeups):
            pytest.skip("this store has no push wake-ups")
        woken = Event()
        leave = store.subscribe(woken.set)
        create(peer, new("order"))
        assert woken.wait(timeout=5)
        leave()
        woken.clear()
        post(peer, message("order"))
        assert not woken.wait(timeout=0.05)

    @pytest.mark.parametrize("call", CALLS, ids=list(CALLS))
    def test_a_closed_store_is_unavailable(self, store: Store, call: str) -> None:
        store.close()
        store.close()
        with pytest.raises(StoreUnavailable):
            CALLS[call](store)


def _create_at(store: Store, workflow_id: str, created_at: int, *, name: str = "checkout") -> None:
    first = [EventRow(1, "happened", created_at, b"{}")]
    create(store, NewWorkflow(workflow_id=workflow_id, name=name, state="queued", events=first))


def _listed(store: Store, query: WorkflowQuery) -> set[str]:
    return {one.workflow_id for one in store.workflows(query)}
