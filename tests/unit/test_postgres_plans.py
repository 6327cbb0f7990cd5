"""Plans of the Postgres store's statements: tables are looked into through indexes, also where they were once empty."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from everlog.store import Batch, ClaimRequest, Commit, Done, WorkflowQuery
from everlog.testing.making import (
    HOUR,
    admit,
    claim,
    claimed_ids,
    commit,
    create,
    declare,
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
from everlog_postgres import open_store
from everlog_postgres.statements import in_schema
from everlog_postgres.store import PostgresStore
from everlog_postgres.urls import parse
from tests.postgres import administrator, needs_postgres, new_schema

pytestmark = needs_postgres

HEADS = 20_000

FILL = f"""
INSERT INTO everlog.heads (workflow_id, name, state, seq, bytes, created_at, ended_at)
SELECT 'old-' || n, 'checkout', 'completed', 3, 6, n, n FROM generate_series(1, {HEADS}) AS n;
INSERT INTO everlog.events (workflow_id, seq, type, recorded_at, payload)
SELECT 'old-' || n, seq, 'happened', n, '{{}}' FROM generate_series(1, {HEADS}) AS n, generate_series(1, 3) AS seq;
INSERT INTO everlog.inbox (workflow_id, source, number, topic, control, payload, arrived_at, closed)
SELECT 'old-' || n, 'client', 1, 'news', false, '1', 1, true FROM generate_series(1, {HEADS}) AS n;
INSERT INTO everlog.heads (workflow_id, name, state, seq, bytes, created_at, queue)
SELECT 'standing-' || n, 'checkout', 'enqueued', 1, 2, n, 'mail' FROM generate_series(1, {HEADS}) AS n;
INSERT INTO everlog.queue_places (workflow_id, queue, name, partition, priority, due_at, dedup_key, stands)
SELECT 'standing-' || n, 'mail', 'checkout', (n % 1000)::text, n % 3, n, n::text, (ARRAY['due', 'delayed'])[1 + n % 2]
FROM generate_series(1, {HEADS}) AS n;
INSERT INTO everlog.queue_starts (queue, partition, started_at)
SELECT 'mail', (n % 1000)::text, n FROM generate_series(1, {HEADS}) AS n;
INSERT INTO everlog.queue_slots (worker, slot, queue, partition)
SELECT 'worker-' || n % 10, n::text, 'mail', '' FROM generate_series(1, {HEADS}) AS n;
INSERT INTO everlog.message_keys (workflow_id, key) SELECT 'old-' || n, 'k' FROM generate_series(1, {HEADS}) AS n;
"""


@pytest.fixture(scope="module")
def plans() -> Iterator[dict[str, list[Any]]]:
    """The plans of all statements of the commits' connection, which it made while the tables were empty."""
    url = new_schema("push=off")
    store = open_store(url)
    use_all(store)
    with administrator() as connection:
        connection.execute(in_schema(FILL, parse(url).schema).encode())
    yield explained(store._connection.driver())
    store.close()


def use_all(store: PostgresStore) -> None:
    """Run every statement there is."""
    token = held(store, "order")
    assert (
        commit(store, Commit(workflow_id="order", token=token, seq=1, state="running", events=events(2, 2))) == Done()
    )
    pair = [(name, held(store, name)) for name in ("one", "other")]
    store.commit(
        Batch(
            commits=[
                Commit(workflow_id=name, token=token, seq=1, state="running", events=events(2, 2))
                for name, token in pair
            ]
        )
    )
    post(store, message("order", key="k"))
    waiting(store, "sleeper", topics=["news"])
    create(store, new("queued"))
    again = [message("sleeper", 1, key="k"), message("sleeper", 2, key="k")]
    store.commit(Batch(commits=[Commit(workflow_id="order", token=token, seq=2, state="running", messages=again)]))
    claim(store, "t")
    store.claim(ClaimRequest(worker="worker-1", tokens=["u"], build="b", only="sleeper"))
    store.read("order")
    head(store, "order")
    store.workflows(WorkflowQuery())
    use_queues(store)
    last = store.unread("worker-1")[-1].row
    store.unread("worker-1", after=last)
    store.changes()


def use_queues(store: PostgresStore) -> None:
    """Run every statement of queues."""
    declare(store, concurrency=5, rate_limit=(9, HOUR), partition_concurrency=5, partition_rate_limit=(9, HOUR))
    store.change_queue("mail", paused=False)
    for number in range(3):
        create(store, enqueued(f"placed-{number}", partition=str(number), dedup_key=f"k{number}"))
    create(store, enqueued("late", due_at=store.now() + 1))
    while not claimed_ids(admit(store, "a", "b", "c", "d")):
        pass
    assert create(store, enqueued("taker", dedup_key="k0", takes_key=True)) == Done()
    assert take(store, "slot") == [True]
    store.free_slots("worker-1", ["slot"])
    store.find_place("mail", "k1")
    store.count_queues(["mail"])
    declare(store, "other")
    store.delete_queue("other")


def explained(driver: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    prepared = driver.execute(
        "SELECT name, statement, cardinality(parameter_types) FROM pg_prepared_statements"
    ).fetchall()
    for name, statement, width in prepared:
        nothing = f"({', '.join(['NULL'] * width)})" if width else ""
        row = driver.execute(f"EXPLAIN (FORMAT JSON) EXECUTE {name}{nothing}".encode()).fetchone()
        plan = row[0] if row is not None else ""
        title = re.sub(r"\W+", " ", statement.splitlines()[0]).strip()[:40]
        found[title] = list(nodes((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]))
    return found


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def test_the_statements_are_prepared(plans: dict[str, list[Any]]) -> None:
    assert len(plans) >= 35, sorted(plans)


def test_no_table_is_read_from_end_to_end(plans: dict[str, list[Any]]) -> None:
    read = [
        (title, node["Relation Name"])
        for title, found in plans.items()
        for node in found
        if node["Node Type"] == "Seq Scan"
    ]
    assert read == []


def test_every_index_is_entered_at_a_place(plans: dict[str, list[Any]]) -> None:
    """Save where a whole index is read on purpose: the open inboxes and the queues, which are few, and the newest
    workflows first."""
    whole = {
        node["Index Name"]
        for found in plans.values()
        for node in found
        if node["Node Type"] in ("Index Scan", "Index Only Scan") and "Index Cond" not in node
    }
    assert whole <= {"inbox_open", "heads_by_age", "queues_pkey"}


def test_no_join_grows_with_a_table(plans: dict[str, list[Any]]) -> None:
    kinds = {node["Node Type"] for found in plans.values() for node in found}
    assert not kinds & {"Hash Join", "Merge Join"}


def test_the_usual_commit_touches_no_index_of_heads() -> None:
    """The new version of the head has room on the page of the old one, and changes no indexed column."""
    url = new_schema("push=off")
    store = open_store(url)
    tokens = [held(store, f"order-{number}") for number in range(20)]
    for seq in range(1, 11):
        commits = [
            Commit(workflow_id=f"order-{n}", token=token, seq=seq, state="running", events=events(seq + 1, seq + 1))
            for n, token in enumerate(tokens)
        ]
        assert store.commit(Batch(commits=commits)).commits == [Done()] * 20
    store.register(worker("worker-1"))
    store.close()  # tells the server's statistics what it has done
    with administrator() as connection:
        for _ in range(100):
            row = connection.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = %s AND relname = 'heads'",
                (parse(url).schema,),
            ).fetchone()
            if row == (200, 200):
                break
            connection.execute("SELECT pg_sleep(0.05)")
    assert row == (200, 200)
