"""Many unread messages of workflows that are held, or that wait for others, cost a claim no more than a few."""

from __future__ import annotations

from pathlib import Path

from everlog.store import Batch, Done
from everlog.testing.making import claim, claimed_ids, held, message, waiting
from everlog_postgres import open_store as open_postgres
from everlog_postgres.store import PostgresStore
from everlog_postgres.urls import parse
from everlog_sqlite import open_store as open_sqlite
from everlog_sqlite.store import SqliteStore
from tests.postgres import needs_postgres, new_schema

MANY = 2_000
STEP = 10


def filled(store: SqliteStore | PostgresStore, messages: int) -> None:
    """Have so many messages lie in two inboxes: of one that is held, and of one that waits for another topic."""
    held(store, "held")
    waiting(store, "waiting", topics=["news"])
    for name in ("held", "waiting"):
        posts = [message(name, number, topic="noise") for number in range(messages)]
        assert set(store.commit(Batch(posts=posts)).posts) == {Done()}


def test_a_claim_on_sqlite_does_not_look_at_each(tmp_path: Path) -> None:
    def cost(messages: int) -> int:
        store = open_sqlite(f"sqlite:///{tmp_path}/{messages}.db")
        filled(store, messages)
        ticks = 0

        def tick() -> None:
            nonlocal ticks
            ticks += 1

        store._connection.driver.set_progress_handler(tick, STEP)
        assert claimed_ids(claim(store, "token")) == []
        store._connection.driver.set_progress_handler(None, 0)
        assert set(store.commit(Batch(posts=[message("waiting", messages, topic="news")])).posts) == {Done()}
        assert claimed_ids(claim(store, "token")) == ["waiting"]
        store.close()
        return ticks

    assert cost(MANY) <= cost(10) + 10


@needs_postgres
def test_a_claim_on_postgres_does_not_look_at_each() -> None:
    def cost(messages: int) -> int:
        url = new_schema("push=off")
        store = open_postgres(url)
        filled(store, messages)
        claim(store, "first token")  # by which the statements are planned, for what is there now
        before = read_of_inboxes(store, url)
        assert claimed_ids(claim(store, "token")) == []
        looked_at = read_of_inboxes(store, url) - before
        assert set(store.commit(Batch(posts=[message("waiting", messages, topic="news")])).posts) == {Done()}
        assert claimed_ids(claim(store, "token")) == ["waiting"]
        store.close()
        return looked_at

    assert cost(MANY) <= cost(10) + 10


def read_of_inboxes(store: PostgresStore, url: str) -> int:
    """Give how many entries of the inbox and its indexes were read so far."""
    driver = store._connection.driver()
    driver.execute("SELECT pg_stat_force_next_flush()")
    row = driver.execute(
        "SELECT seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_all_indexes AS one WHERE one.relid = inbox.relid)"
        f" FROM pg_stat_all_tables AS inbox WHERE inbox.relid = '{parse(url).schema}.inbox'::regclass".encode()
    ).fetchone()
    assert row is not None
    return int(row[0])
