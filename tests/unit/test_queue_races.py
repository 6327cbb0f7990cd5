"""Limits of queues while many race: four workers with connections of their own, on a SQLite file and on Postgres.

What was admitted when is read from the rows that the admissions wrote, none of which may be forgotten here.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from everlog.runtime.backends import open_store
from everlog.store import (
    ENDED,
    Batch,
    Busy,
    Claimed,
    Commit,
    Done,
    Head,
    Place,
    QueueLimits,
    Rate,
    State,
    Store,
)
from everlog.testing.making import (
    admit,
    claim_only,
    claimed_ids,
    commit,
    create,
    declare,
    enqueued,
    events,
    take,
    with_queues,
)
from everlog_postgres.statements import in_schema
from everlog_postgres.urls import parse
from tests.postgres import administrator, needs_postgres, new_schema

WORKERS = 4
WORKFLOWS = 60
CONCURRENCY = 5
PER_PARTITION = 2
RATE = Rate(6, 30_000)
PARTITION_RATE = Rate(3, 20_000)

KEPT_IN_SQLITE = """
CREATE TRIGGER starts_are_kept BEFORE DELETE ON queue_starts BEGIN SELECT raise(IGNORE); END;
"""
KEPT_IN_POSTGRES = """
CREATE RULE starts_are_kept AS ON DELETE TO everlog.queue_starts DO INSTEAD NOTHING;
"""


class Database:
    """One database of either kind, which keeps all starts."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path = folder / "test.db"
        self.url = f"sqlite:///{self.path}" if kind == "sqlite" else new_schema("push=off")
        self.opened: list[Store] = []
        self.open()
        if kind == "sqlite":
            with sqlite3.connect(self.path) as connection:
                connection.executescript(KEPT_IN_SQLITE)
            connection.close()
        else:
            with administrator() as connection:
                connection.execute(in_schema(KEPT_IN_POSTGRES, parse(self.url).schema).encode())

    def open(self) -> Store:
        store = open_store(self.url, durability="process")
        self.opened.append(store)
        return store

    def starts(self) -> list[tuple[int, str]]:
        """Give when what started in which partition."""
        sql = "SELECT started_at, partition FROM everlog.queue_starts ORDER BY started_at"
        if self.kind == "sqlite":
            connection = sqlite3.connect(self.path)
            rows = connection.execute(sql.replace("everlog.", "")).fetchall()
            connection.close()
            return rows
        with administrator() as connection:
            return connection.execute(in_schema(sql, parse(self.url).schema).encode()).fetchall()  # type: ignore[return-value] # that is in them


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    database = Database(request.param, tmp_path)
    yield database
    for store in database.opened:
        store.close()


def all_at_once(work: Callable[[int], None]) -> None:
    """Run the work of all workers, each in a thread."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def end(store: Store, claimed: Claimed) -> None:
    """Have a workflow end that was just admitted."""
    head = claimed.head
    last = Commit(
        workflow_id=head.workflow_id,
        token=head.token,
        seq=head.seq,
        state="completed",
        events=events(head.seq + 1, head.seq + 1),
    )
    assert commit(store, last) == Done()


def goes(store: Store, head: Head, state: State, place: Place | None = None) -> None:
    """Let go of a workflow in this state; another may have its key, or its head be busy: then it is only let go of."""
    moves = Commit(workflow_id=head.workflow_id, token=head.token, seq=head.seq, state=state, place=place, release=True)
    if commit(store, moves) != Done():
        lets_go = Commit(workflow_id=head.workflow_id, token=head.token, seq=head.seq, state=head.state, release=True)
        while commit(store, lets_go) == Busy():
            pass


def most_in_a_window(starts: list[int], per: int) -> int:
    """Give the greatest number of starts in any window, which may begin with any of them."""
    return max(sum(first <= at < first + per for at in starts) for first in starts)


def test_who_races_never_goes_beyond_a_limit(database: Database) -> None:
    store = database.opened[0]
    limits = QueueLimits(
        concurrency=CONCURRENCY,
        rate_limit=RATE,
        partition_concurrency=PER_PARTITION,
        partition_rate_limit=PARTITION_RATE,
    )
    with_queues(store).declare_queues([("mail", limits)])
    store.commit(Batch(creates=[enqueued(f"order-{n:02}", partition=f"p{n % 7}") for n in range(WORKFLOWS)]))
    ended: list[str] = []
    taken: list[int] = []
    through = [database.open() for _ in range(WORKERS)]

    def work(number: int) -> None:
        mine, worker, tries = through[number], f"worker-{number}", 0
        while len(ended) < WORKFLOWS:
            tries += 1
            answer = admit(mine, *[f"{worker}.{tries}.{n}" for n in range(3)], worker=worker)
            slot = f"slot {tries}"
            has_slot = take(mine, slot, worker=worker, partition=f"p{tries % 7}") == [True]
            taken.append(with_queues(mine).count_queues(["mail"])[0].taken)
            for claimed in answer.claimed:
                end(mine, claimed)
                ended.append(claimed.head.workflow_id)
            if has_slot:
                with_queues(mine).free_slots(worker, [slot])

    all_at_once(work)
    assert sorted(ended) == [f"order-{n:02}" for n in range(WORKFLOWS)]
    assert max(taken) <= CONCURRENCY
    starts = database.starts()
    assert len(starts) >= WORKFLOWS
    assert most_in_a_window([at for at, _ in starts], RATE.per) <= RATE.limit
    for partition in {one for _, one in starts}:
        of_it = [at for at, one in starts if one == partition]
        assert most_in_a_window(of_it, PARTITION_RATE.per) <= PARTITION_RATE.limit
    assert with_queues(store).count_queues(["mail"])[0].taken == 0


def test_slots_are_never_more_than_there_are_while_nobody_gives_one_back(database: Database) -> None:
    """All ask at once, again and again, for the last of the slots."""
    store = database.opened[0]
    through = [database.open() for _ in range(WORKERS)]
    for turn in range(10):
        queue = f"queue-{turn}"
        declare(store, queue, concurrency=CONCURRENCY)
        store.commit(Batch(creates=[enqueued(f"{queue} {n:02}", queue) for n in range(2 * CONCURRENCY)]))
        ready = threading.Barrier(WORKERS)
        admitted: list[str] = []

        def work(
            number: int,
            turn: int = turn,
            queue: str = queue,
            ready: threading.Barrier = ready,
            to: list[str] = admitted,
        ) -> None:
            mine, worker = through[number], f"worker-{number}"
            ready.wait()
            for tries in range(4):
                tokens = [f"{turn}.{number}.{tries}.{n}" for n in range(3)]
                to.extend(claimed_ids(admit(mine, *tokens, worker=worker, queues=[queue])))
                take(mine, f"{turn}.{number}.{tries}", worker=worker, queue=queue)

        all_at_once(work)
        assert with_queues(store).count_queues([queue])[0].taken == CONCURRENCY
        assert len(set(admitted)) == len(admitted) <= CONCURRENCY


def test_who_is_paused_moved_and_ended_while_others_admit_is_where_its_head_says(database: Database) -> None:
    """Commits and admissions change the same heads and places, and neither waits for the other in a circle."""
    store = database.opened[0]
    ids = [f"order-{n:02}" for n in range(20)]
    for queue in ("mail", "other"):
        declare(store, queue, concurrency=6, partition_concurrency=4)
    store.commit(Batch(creates=[enqueued(one, partition=one[-1]) for one in ids]))
    through = [database.open() for _ in range(WORKERS)]

    def admit_and_end(number: int) -> None:
        mine, worker = through[number], f"worker-{number}"
        for tries in range(60):
            tokens = [f"{number}.{tries}.{n}" for n in range(3)]
            for claimed in admit(mine, *tokens, worker=worker, queues=["mail", "other"]).claimed:
                if tries % 4 == 0:
                    end(mine, claimed)
                else:
                    goes(mine, claimed.head, "enqueued")

    def move(number: int) -> None:
        mine, worker = through[number], f"worker-{number}"
        for tries in range(60):
            request = [claim_only(mine, one, f"{number}.{tries}.{one}", worker=worker) for one in ids[tries % 5 :: 5]]
            for claimed in [one for found in request for one in found]:
                queue = "other" if tries % 2 else "mail"
                state: State = "paused" if claimed.head.state == "enqueued" and tries % 3 else "enqueued"
                place = Place(queue=queue, partition=str(tries % 3), dedup_key=f"{tries % 7}", takes_key=True)
                goes(mine, claimed.head, state, place if tries % 5 else None)

    all_at_once(lambda number: admit_and_end(number) if number % 2 else move(number))
    heads = [head for head in store.heads(ids) if head is not None]
    places = with_queues(store).places(ids)
    for head, place in zip(heads, places, strict=True):
        assert (place is None) == (head.state in ENDED), (head, place)
        assert place is None or (place.place.queue, place.state) == (head.queue, head.state)
        assert place is None or not (place.has_slot and head.state == "enqueued")
    counts = with_queues(store).count_queues(["mail", "other"])
    assert sum(one.taken for one in counts) == sum(place is not None and place.has_slot for place in places)
    assert sum(one.due for one in counts) == sum(head.state == "enqueued" for head in heads)


def test_all_who_stand_in_an_unlimited_queue_are_admitted_once(database: Database) -> None:
    store = database.opened[0]
    declare(store)
    ids = [f"order-{n:03}" for n in range(200)]
    store.commit(Batch(creates=[enqueued(one) for one in ids]))
    through = [database.open() for _ in range(WORKERS)]
    admitted: list[str] = []

    def work(number: int) -> None:
        tries = 0
        while len(admitted) < len(ids):
            tries += 1
            tokens = [f"{number}.{tries}.{n}" for n in range(5)]
            admitted.extend(claimed_ids(admit(through[number], *tokens, worker=f"worker-{number}")))

    all_at_once(work)
    assert sorted(admitted) == ids


def test_of_many_who_enqueue_one_key_one_does(database: Database) -> None:
    store = database.opened[0]
    declare(store)
    through = [database.open() for _ in range(WORKERS)]
    outcomes: list[object] = []

    def work(number: int) -> None:
        outcomes.extend(
            [create(through[number], enqueued(f"{key} of {number}", dedup_key=str(key))) for key in range(15)]
        )

    all_at_once(work)
    assert outcomes.count(Done()) == 15
    holders = [with_queues(store).find_place("mail", str(key)) for key in range(15)]
    assert all(holder is not None for holder in holders)
    assert with_queues(store).count_queues(["mail"])[0].due == 15


def test_a_noisy_partition_keeps_no_other_waiting(database: Database) -> None:
    store = database.opened[0]
    declare(store, concurrency=4)
    creates = [enqueued(f"noisy-{n:04}", partition="noisy") for n in range(1_000)]
    creates += [enqueued(f"quiet-{n:02}", partition="quiet") for n in range(10)]
    store.commit(Batch(creates=creates))
    order: list[str] = []
    for turn in range(8):
        answer = admit(store, *[f"{turn}.{n}" for n in range(4)])
        order.extend(claimed_ids(answer))
        for claimed in answer.claimed:
            end(store, claimed)
    assert [one[:5] for one in order] == ["noisy", "quiet"] * 10 + ["noisy"] * 12
