"""How the stores look for workflows among many: along indexes, reading little more than the page that they give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from everlog.store import WorkflowQuery
from everlog_postgres import open_store as open_postgres
from everlog_postgres.connection import Question
from everlog_postgres.statements import in_schema
from everlog_postgres.store import PostgresStore
from everlog_postgres.urls import parse
from everlog_sqlite import SqliteStore
from tests.postgres import administrator, needs_postgres, new_schema
from tests.property.databases import LONG

HEADS = 100_000 if LONG else 20_000
PAGE = 100
MOST_READ = 4 * PAGE
"""Rows that may be read of a table for a page, of whichever attributes there are so many."""

COMMON, RARE = {"tenant": ['"acme"']}, {"number": ["7", "4711"]}
QUERIES = {
    "common": WorkflowQuery(attributes=COMMON, limit=PAGE),
    "common, oldest first": WorkflowQuery(attributes=COMMON, limit=PAGE, newest_first=False),
    "common, a page in the middle": WorkflowQuery(attributes=COMMON, limit=PAGE, after=(HEADS // 2, "w")),
    "common, of a time": WorkflowQuery(attributes=COMMON, limit=PAGE, created_from=50, created_until=60),
    "rare": WorkflowQuery(attributes=RARE, limit=PAGE),
    "common and rare": WorkflowQuery(attributes={**COMMON, **RARE}, limit=PAGE),
    "rare, without another": WorkflowQuery(attributes={**RARE, "nobody": None}, limit=PAGE),
    "nobody's": WorkflowQuery(attributes={"tenant": ['"nobody"']}, limit=PAGE),
}

FILL_POSTGRES = f"""
INSERT INTO everlog.heads (workflow_id, name, state, seq, bytes, created_at, ended_at)
SELECT 'w' || n, 'checkout', 'completed', 3, 6, n, n FROM generate_series(1, {HEADS}) AS n;
INSERT INTO everlog.attributes (workflow_id, name, value, place, created_at)
SELECT 'w' || n, 'tenant', '"acme"', 0, n FROM generate_series(1, {HEADS}) AS n
UNION ALL
SELECT 'w' || n, 'number', n::text, 0, n FROM generate_series(1, {HEADS}) AS n;
ANALYZE everlog.heads, everlog.attributes;
"""

FILL_SQLITE = f"""
WITH RECURSIVE many (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < {HEADS})
INSERT INTO heads (number, workflow_id, name, state, seq, bytes, created_at, ended_at)
SELECT n, 'w' || n, 'checkout', 'completed', 3, 6, n, n FROM many;
INSERT INTO attributes (workflow_id, name, value, place, created_at)
SELECT workflow_id, 'tenant', '"acme"', 0, number FROM heads
UNION ALL
SELECT workflow_id, 'number', CAST(number AS TEXT), 0, number FROM heads;
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresStore]:
    url = new_schema("push=off")
    store = open_postgres(url)
    with administrator() as connection:
        connection.execute(in_schema(FILL_POSTGRES, parse(url).schema).encode())
    yield store
    store.close()


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path_factory.mktemp("finding") / "many.db", durability="process")
    store._connection.driver.executescript(FILL_SQLITE)
    yield store
    store.close()


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@needs_postgres
@pytest.mark.parametrize("asked", list(QUERIES))
def test_postgres_reads_little_more_than_the_page(
    postgres: PostgresStore, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, questions = postgres._connection, list[Question]()
    ask = connection.ask

    def listening(*asked: Question) -> Any:
        questions.extend(asked)
        return ask(*asked)

    monkeypatch.setattr(connection, "ask", listening)
    found = postgres.workflows(QUERIES[asked])
    assert len(found) <= PAGE
    for question in questions:
        sql = b"EXPLAIN (ANALYZE, FORMAT JSON) " + question.sql
        row = connection.driver().execute(sql, question.parameters).fetchone()
        assert row is not None
        plan = row[0] if isinstance(row[0], list) else json.loads(row[0])
        for node in nodes(plan[0]["Plan"]):
            if "Relation Name" not in node:
                continue
            read = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            counted = 1000 if b"-- How often" in question.sql else 0
            assert "Seq Scan" not in node["Node Type"], node
            assert read <= MOST_READ + counted, node


@needs_postgres
def test_postgres_does_so_also_with_a_plan_for_whatever_is_asked(postgres: PostgresStore) -> None:
    """The plan that the server keeps once a statement was run some times; it knows no values."""
    driver = postgres._connection.driver()
    for _ in range(8):
        postgres.workflows(QUERIES["common"])
    rows = driver.execute(
        "SELECT name, cardinality(parameter_types) FROM pg_prepared_statements"
        " WHERE statement LIKE '%attributes AS fit%'"
    ).fetchall()
    assert rows
    driver.execute("SET plan_cache_mode = force_generic_plan")
    for name, width in rows:
        nothing = ", ".join(["NULL"] * int(str(width)))
        row = driver.execute(f"EXPLAIN (FORMAT JSON) EXECUTE {name}({nothing})".encode()).fetchone()
        assert row is not None
        plan = row[0] if isinstance(row[0], list) else json.loads(str(row[0]))
        tables = [node for node in nodes(plan[0]["Plan"]) if "Relation Name" in node]
        fit = [node for node in tables if node["Alias"] == "fit"]
        assert [node["Index Name"] for node in fit] == ["attributes_by_value"]
        assert "name" in fit[0]["Index Cond"]
        assert "value" in fit[0]["Index Cond"]
        assert not any("Seq Scan" in node["Node Type"] for node in tables), tables
    driver.execute("RESET plan_cache_mode")


@pytest.mark.parametrize("asked", list(QUERIES))
def test_sqlite_reads_little_more_than_the_page(sqlite: SqliteStore, asked: str) -> None:
    driver = sqlite._connection.driver
    statements: list[str] = []
    driver.set_trace_callback(statements.append)
    found = sqlite.workflows(QUERIES[asked])
    driver.set_trace_callback(None)
    assert len(found) <= PAGE
    plans = [row[3] for sql in statements for row in driver.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()]
    scanned = [plan for plan in plans if plan.startswith("SCAN") and "json_each" not in plan]
    tables = [
        plan for plan in scanned if any(name in plan for name in ("heads", "attributes", "fit", "found", "other"))
    ]
    assert tables == []
    assert any(
        "fit USING" in plan and "attributes_by_value (name=? AND value=? AND (created_at," in plan for plan in plans
    )

    thousands = 0

    def count() -> int:
        nonlocal thousands
        thousands += 1
        return 0

    driver.set_progress_handler(count, 1000)
    sqlite.workflows(QUERIES[asked])
    driver.set_progress_handler(None, 0)
    assert thousands < 30, "instructions of SQLite's machine: some hundreds for each row of the page"
