"""What an admission costs on SQLite, in instructions of its machine: as much where many stand in a queue as where few.

Counted, not measured: so a busy machine changes nothing.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from everlog.store import Batch, NewWorkflow
from everlog.testing.making import HOUR, admit, claimed_ids, create, declare, enqueued, new
from everlog_sqlite import SqliteStore, open_store

MANY = 4_000
STRIDE = 10
"""So many instructions are one count."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = open_store(f"sqlite:///{tmp_path}/test.db", durability="process")
    yield store
    store.close()


def counted(store: SqliteStore, call: Callable[[], object]) -> int:
    """Count what a call has SQLite do."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    driver = store._connection.driver
    driver.set_progress_handler(tick, STRIDE)
    try:
        call()
    finally:
        driver.set_progress_handler(None, STRIDE)
    return count


def fill(store: SqliteStore, news: Iterator[NewWorkflow]) -> None:
    store.commit(Batch(creates=list(news)))


def admits_one(store: SqliteStore, expected: str, token: str) -> int:
    """Count an admission of one workflow, which it is to be."""
    found: list[str] = []
    count = counted(store, lambda: found.extend(claimed_ids(admit(store, token))))
    assert found == [expected]
    return count


@pytest.mark.parametrize("limited", [False, True], ids=["unlimited", "limited"])
def test_an_admission_costs_as_much_where_many_stand(store: SqliteStore, limited: bool) -> None:
    if limited:
        declare(store, concurrency=10, rate_limit=(100, HOUR), partition_concurrency=10)
    else:
        declare(store)
    for name in ("a", "b"):
        create(store, enqueued(name, priority=-1))
    few = admits_one(store, "a", "t")
    fill(store, (enqueued(f"due-{n}", priority=n % 3) for n in range(MANY)))
    fill(store, (enqueued(f"later-{n}", priority=-2, due_at=store.now() + HOUR) for n in range(MANY)))
    fill(store, (enqueued(f"other-{n}", priority=-2, name="report") for n in range(MANY)))
    fill(store, (enqueued(f"elsewhere-{n}", "other", priority=-2) for n in range(MANY)))
    assert admits_one(store, "b", "u") < 2 * few + 100


def test_an_admission_costs_as_much_where_there_are_many_partitions(store: SqliteStore) -> None:
    declare(store, concurrency=10, partition_concurrency=1, partition_rate_limit=(2, HOUR))
    fill(store, (enqueued(f"{partition}-{n}", partition=partition) for partition in "abc" for n in range(2)))
    few = admits_one(store, "a-0", "t")
    fill(store, (enqueued(f"more-{n}", partition=f"p{n}") for n in range(MANY)))
    assert admits_one(store, "b-0", "u") < 2 * few + 100


def test_a_queue_that_is_full_costs_as_much_where_many_stand(store: SqliteStore) -> None:
    declare(store, concurrency=1)
    fill(store, (enqueued(f"few-{n}", partition=f"p{n}") for n in range(3)))
    admits_one(store, "few-0", "t")

    def ask() -> int:
        return counted(store, lambda: admit(store, "u"))

    few = ask()
    fill(store, (enqueued(f"many-{n}", partition=f"p{n}") for n in range(MANY)))
    assert ask() < 2 * few + 100


def test_who_becomes_due_is_found_without_looking_at_who_does_not(store: SqliteStore) -> None:
    declare(store)
    now = store.now()
    create(store, enqueued("a", due_at=now + 1))
    while store.now() <= now + 1:
        pass
    few = admits_one(store, "a", "t")
    fill(store, (enqueued(f"later-{n}", due_at=store.now() + HOUR) for n in range(MANY)))
    create(store, enqueued("b", due_at=store.now() - 1))
    create(store, enqueued("c", due_at=(now := store.now()) + 1))
    while store.now() <= now + 1:
        pass
    assert admits_one(store, "b", "u") < 2 * few + 100
    assert admits_one(store, "c", "v") < 2 * few + 100


def test_who_has_no_place_costs_nothing_more(store: SqliteStore) -> None:
    """The statements of a commit without places are those that it had before there were any."""
    seen: list[str] = []
    store._connection.driver.set_trace_callback(seen.append)
    token = "t"
    create(store, new("order", state="running", token=token))
    store._connection.driver.set_trace_callback(None)
    assert not [sql for sql in seen if "queue_" in sql]
