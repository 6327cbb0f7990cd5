"""What a store promises of its rows, and of being closed, as tests: `everlog.testing.MovingConformance`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import pytest
from msgspec.structs import replace

from everlog.core.published import StreamRow, ValueRow
from everlog.core.waits import WaitRow
from everlog.errors import StoreUnavailable
from everlog.memory import MemoryStore
from everlog.runtime.digests import moved_digest, shared_digest
from everlog.store import (
    WORKER_DIED,
    Batch,
    Commit,
    Deduplicated,
    Done,
    Duplicate,
    Exists,
    Store,
    SupportsDeletion,
    SupportsInboxes,
    SupportsQueues,
    WorkflowQuery,
)
from everlog.store_moving import Move, SupportsMoving, WorkflowRows
from everlog.store_schedules import ScheduleRow, ScheduleWrite, SupportsSchedules
from everlog.testing.making import (
    BEGINNING,
    HOUR,
    admit,
    claim,
    claim_only,
    claimed_ids,
    commit,
    create,
    declare,
    ended,
    enqueued,
    events,
    head,
    held,
    message,
    new,
    post,
    take,
    waiting,
    worker,
)

MOVE = Move(move_id="move-1", role="leaving", other="sqlite:///o'hara%s.db", at=BEGINNING)


class Moves(Store, SupportsMoving, SupportsInboxes, SupportsQueues, SupportsSchedules, SupportsDeletion, Protocol):
    """A store of which everything can be moved."""


def furnish(store: Moves) -> None:
    """Put something of each kind into a store."""
    declare(store, "mail", concurrency=50, rate_limit=(30, HOUR), partition_concurrency=20)
    declare(store, "o'hara ☃")
    store.change_queue("o'hara ☃", paused=True)
    schedule = ScheduleRow(name="daily", revision="r1", workflow="checkout", due_at=BEGINNING, payload=b'{"a" : 1}')
    store.write_schedules([ScheduleWrite(name="daily", revision=None, row=schedule)])
    create(store, new("queued ☃", seq=3))
    waiting(store, "asleep", wake_at=BEGINNING)
    waiting(store, "waits", topics=["b", 'a "quoted" \\ one'])
    ended(store, "ended")
    _furnish_one(store)
    _furnish_queues(store)


def _furnish_one(store: Moves) -> None:
    token = held(store, "busy", token="t")
    text = '{"a" : 1.50, "b": "☃"}'.encode()
    commit(
        store,
        Commit(
            workflow_id="busy",
            token=token,
            seq=1,
            state="running",
            events=events(2, 4),
            values=[ValueRow(name="v", seq=2, recorded_at=BEGINNING, payload=text)],
            items=[
                StreamRow(stream="s", offset=0, count=2, kind="items", written_at=BEGINNING, payload=b"[1, 2]"),
                StreamRow(
                    stream="s",
                    offset=2,
                    count=1,
                    kind="items",
                    written_at=BEGINNING,
                    operation="step-1",
                    attempt=2,
                    payload=b'["x"]',
                ),
                StreamRow(stream="s", offset=3, count=1, kind="closed", written_at=BEGINNING),
            ],
            waits=[WaitRow(seq=3, operation="recv", topic="t", title="May %s?", opened_at=BEGINNING, metadata=text)],
            attributes={"customer": "o'hara", "tags": ("a", 1, True)},
            build="b",
            why="it's 100%",
        ),
    )
    post(store, message("busy", 2, topic="late", key="k1", payload=text))
    post(store, message("busy", 1, topic="early"))
    post(store, message("waits", 1, control=True, key="k2"))
    continued = held(store, "continued", token="c")
    first = Commit(
        workflow_id="continued", token=continued, seq=1, state="running", events=events(2, 3), first_seq=3, name="next"
    )
    commit(store, first)


def _furnish_queues(store: Moves) -> None:
    for number, partition in enumerate(["a", "b", "a", "b"]):
        create(store, enqueued(f"mail-{number}", partition=partition, priority=-number, dedup_key=f"key-{number}"))
    create(store, enqueued("delayed", due_at=BEGINNING + 10**6 * HOUR))
    admit(store, "t1", "t2", worker="worker-2")
    token = "t3"
    claim_only(store, "mail-0", token)
    paused = Commit(workflow_id="mail-0", token=token, seq=1, state="paused", events=events(2, 2), release=True)
    commit(store, paused)


def everything(store: SupportsMoving) -> list[WorkflowRows]:
    """Give all workflows of a store, page by page."""
    found: list[WorkflowRows] = []
    while page := store.workflow_rows(after=place(found[-1]) if found else None, limit=3):
        found += page
    return found


def place(rows: WorkflowRows) -> tuple[int, str]:
    """Give what pages are in the order of."""
    return rows.head.created_at, rows.head.workflow_id


def digests(store: SupportsMoving) -> dict[str, str]:
    """Give a digest of each workflow."""
    return {rows.head.workflow_id: moved_digest(rows) for rows in everything(store)}


class MovingContract:
    """Rows that are read and written as they are, and stores that are closed."""

    def test_all_of_a_store_is_the_same_in_another_and_back_again(self, store: Moves) -> None:
        source, back = MemoryStore(store.now), MemoryStore(store.now)
        furnish(source)
        written = everything(source)
        store.close_for_move(replace(MOVE, role="arriving"))
        assert set(store.put_workflow_rows(written)) == {Done()}
        store.put_shared_rows(source.shared_rows())
        assert digests(store) == digests(source)
        assert shared_digest(store.shared_rows()) == shared_digest(source.shared_rows())
        assert list(store.stray_rows()) == []
        back.close_for_move(replace(MOVE, role="arriving"))
        back.put_workflow_rows(everything(store))
        back.put_shared_rows(store.shared_rows())
        assert digests(back) == digests(source)
        assert shared_digest(back.shared_rows()) == shared_digest(source.shared_rows())

    def test_what_a_store_wrote_itself_is_given_as_it_is(self, store: Moves) -> None:
        model = MemoryStore(store.now)
        furnish(store)
        furnish(model)
        (ours,), (models,) = store.rows_of(["busy"]), model.rows_of(["busy"])
        assert ours.size == models.size > 0
        assert [row.payload for row in ours.inbox] == [row.payload for row in models.inbox]
        assert list(ours.keys) == ["k1"]
        assert list(ours.values) == list(models.values)
        assert list(ours.attributes) == list(models.attributes)
        assert list(ours.waits) == list(models.waits)
        assert list(ours.items) == list(models.items)
        stood = {rows.head.workflow_id: rows.standing for rows in everything(store) if rows.standing is not None}
        assert {one: row.stands for one, row in stood.items()} == {
            "mail-0": "aside",
            "mail-1": "due",
            "mail-2": "admitted",
            "mail-3": "admitted",
            "delayed": "delayed",
        }
        (continued,) = store.rows_of(["continued"])
        assert continued.size == len(continued.events[-1].payload)
        assert list(store.stray_rows()) == []

    def test_pages_are_in_order_and_bounded(self, store: Moves) -> None:
        for name in ("b", "a", "c"):
            create(store, new(name, seq=4))
        assert [rows.head.workflow_id for rows in store.workflow_rows()] == ["a", "b", "c"]
        assert [len(rows.events) for rows in store.workflow_rows()] == [4, 4, 4]
        (first,) = store.workflow_rows(limit=1)
        assert [one.head.workflow_id for one in store.workflow_rows(after=place(first))] == ["b", "c"]
        assert len(store.workflow_rows(max_bytes=1)) == 1, "always one"
        assert len(store.workflow_rows(max_bytes=2 * first.size)) == 2
        assert [rows.head.workflow_id for rows in store.rows_of(["c", "nobody", "a"])] == ["a", "c"]

    def test_what_is_there_is_left_as_it_is(self, store: Moves) -> None:
        source = MemoryStore(store.now)
        furnish(source)
        held(store, "asleep", token="ours", seq=2)
        before = store.rows_of(["asleep"])
        rows = everything(source)
        outcomes = store.put_workflow_rows([*rows, rows[0]])
        assert [one for one in outcomes if one != Done()] == [
            Exists(head=head(store, "asleep")),
            Exists(head=outcomes[-1].head if isinstance(outcomes[-1], Exists) else head(store, "asleep")),
        ]
        assert store.rows_of(["asleep"]) == before

    def test_a_dedup_key_that_is_taken_stays_whose_it_is(self, store: Moves) -> None:
        source = MemoryStore(store.now)
        create(source, enqueued("theirs", dedup_key="k"))
        create(store, enqueued("ours", dedup_key="k"))
        assert list(store.put_workflow_rows(everything(source))) == [Deduplicated(head=head(store, "ours"))]
        assert store.rows_of(["theirs"]) == []

    def test_what_arrives_is_unheld_and_goes_on(self, store: Moves) -> None:
        source = MemoryStore(store.now)
        furnish(source)
        store.put_workflow_rows(everything(source))
        store.put_shared_rows(source.shared_rows())
        assert head(store, "busy").token is None
        (claimed,) = claim_only(store, "busy", "token")
        assert [row.topic for row in claimed.inbox] == ["late", "early"]
        assert len(claimed.history) == 4
        assert post(store, message("busy", 9, key="k1")) == Duplicate(), "its key is remembered"
        assert post(store, message("busy", 1)) == Duplicate(), "it lies unread"
        woken = claimed_ids(claim(store, *(f"token-{number}" for number in range(9)), build="b"))
        assert sorted(woken) == ["asleep", "mail-2", "mail-3", "queued ☃", "waits"]

    def test_a_closed_store_gives_and_takes_rows_but_nobody_writes(self, store: Moves, peer: Moves) -> None:
        furnish(store)
        store.register(worker())
        peer.register(worker("worker-2"))
        take(store, "slot", worker="worker-2", partition="c")
        before = histories(store)
        store.close_for_move(MOVE)
        assert peer.move() == store.move() == MOVE
        assert list(peer.workers()) == []
        assert head(peer, "busy").token is None
        assert head(peer, "continued").why == WORKER_DIED
        assert head(peer, "continued").takeovers == 1
        for one in (store, peer):
            for write in writes_to(one):
                with pytest.raises(StoreUnavailable, match=r"being moved to sqlite:///o.hara%s\.db"):
                    write()
            assert one.renew("worker-1", lease_until=BEGINNING) is False
            assert one.retire("worker-1") == 0
        assert histories(peer) == before
        assert list(peer.workers()) == []
        source = MemoryStore(store.now)
        create(source, new("one more"))
        assert list(store.put_workflow_rows(everything(source))) == [Done()]
        with pytest.raises(StoreUnavailable):
            create(store, new("another"))

    def test_an_open_store_is_as_it_was_before(self, store: Moves, peer: Moves) -> None:
        furnish(store)
        store.close_for_move(MOVE)
        store.close_for_move(replace(MOVE, role="left"))
        assert store.move() == replace(MOVE, role="left")
        store.open_after_move()
        assert peer.move() is None
        peer.register(worker())
        assert create(peer, new("another")) == Done()
        assert claim_only(store, "busy", "token")[0].head.takeovers == 1

    def test_who_stood_first_still_does_and_who_comes_stands_behind(self, store: Moves) -> None:
        source = MemoryStore(store.now)
        declare(source, "mail", concurrency=10)
        for name in ("c", "a", "b"):
            create(source, enqueued(name))
        store.close_for_move(replace(MOVE, role="arriving"))
        store.put_shared_rows(source.shared_rows())
        for rows in everything(source):
            store.put_workflow_rows([rows])
        store.open_after_move()
        create(store, enqueued("0"))
        admitted = [claimed_ids(admit(store, f"token-{number}"))[0] for number in range(4)]
        assert admitted == ["c", "a", "b", "0"]

    def test_in_an_open_store_who_arrives_stands_behind(self, store: Moves) -> None:
        source = MemoryStore(store.now)
        create(source, enqueued("theirs"))
        declare(store, "mail", concurrency=10)
        create(store, enqueued("ours"))
        store.put_workflow_rows(everything(source))
        assert [claimed_ids(admit(store, f"token-{number}"))[0] for number in range(2)] == ["ours", "theirs"]


def histories(store: Moves) -> dict[str, Sequence[object]]:
    """Give the histories of all workflows."""
    return {one.workflow_id: list(store.read(one.workflow_id)) for one in store.workflows(WorkflowQuery(limit=1000))}


def writes_to(store: Moves) -> list[Callable[[], object]]:
    """Give writes of all kinds, each of which would change something."""
    row = ScheduleRow(name="new", revision="r1", workflow="checkout", due_at=BEGINNING, payload=b"{}")
    unheld = Commit(workflow_id="queued ☃", token=None, seq=3, state="queued", events=events(4, 4))
    return [
        lambda: create(store, new("another")),
        lambda: create(store, enqueued("another")),
        lambda: commit(store, unheld),
        lambda: post(store, message("busy", 77)),
        lambda: store.commit(Batch(creates=[new("more")], posts=[message("busy", 78)])),
        lambda: claim(store, "token-1", "token-2"),
        lambda: claim_only(store, "busy", "token-3"),
        lambda: store.register(worker("worker-3")),
        lambda: declare(store, "another"),
        lambda: store.change_queue("mail", paused=True),
        lambda: store.delete_queue("o'hara ☃"),
        lambda: take(store, "another slot", partition="d"),
        lambda: store.write_schedules([ScheduleWrite(name="new", revision=None, row=row)]),
        lambda: store.write_schedules([ScheduleWrite(name="daily", revision="r1", row=None)]),
        lambda: store.delete(["ended"]),
    ]
