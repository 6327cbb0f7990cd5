"""Steps whose SQL commits with their result: once, whatever becomes of connections, commits and other owners."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

import everlog
from everlog import (
    Engine,
    InvalidDefinition,
    RetryPolicy,
    UsageError,
    WorkflowFailed,
    WrongContext,
    step,
    sync,
    workflow,
)
from everlog.runtime.transactions import MOST_CONFLICTS, TABLE
from tests.postgres import needs_postgres, new_schema, server_url

INSERT = "INSERT INTO transactions_ledger (number) VALUES (7)"


class Base(NamedTuple):
    """A database with a ledger in it."""

    url: str
    connect: Callable[[], Any]

    def execute(self, statement: str) -> list[Any]:
        """Execute one statement by itself."""
        with closing(self.connect()) as connection:
            cursor = connection.execute(statement)
            rows: list[Any] = cursor.fetchall() if cursor.description else []
            connection.commit()
        return rows

    def paid(self) -> int:
        """Count what steps have written."""
        return int(self.execute("SELECT count(*) FROM transactions_ledger")[0][0])

    def kept(self) -> int:
        """Count the results that were kept with it."""
        return int(self.execute(f"SELECT count(*) FROM {TABLE} WHERE result IS NOT NULL")[0][0])


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_postgres)])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Base]:
    if request.param == "postgres":
        made = Base(new_schema(), lambda: psycopg.connect(server_url()))
    else:
        made = Base(f"sqlite:///{tmp_path}/shop.db", lambda: sqlite3.connect(tmp_path / "shop.db"))
        everlog_opened(made.url)
    for table in ("transactions_ledger", TABLE):
        made.execute(f"DROP TABLE IF EXISTS {table}")
    made.execute("CREATE TABLE transactions_ledger (number INTEGER)")
    yield made
    for table in ("transactions_ledger", TABLE):
        made.execute(f"DROP TABLE IF EXISTS {table}")


def everlog_opened(url: str) -> None:
    """Make the database of an engine; in a file it does not move in with others."""
    with sync.Engine(url):
        pass


@contextmanager
def opened(base: Base) -> Generator[Any]:
    """Open a transaction as a user's own function would."""
    with closing(base.connect()) as connection, connection:
        yield connection


async def run(base: Base, body: Callable[..., Any], *, transaction: Any = True, **options: Any) -> Any:
    """Run a step with this body, and give its result."""
    made: Any = step(body, name="transactions.made", transaction=transaction, **options)

    async def calls() -> Any:
        return await (made() if asyncio.iscoroutinefunction(body) else everlog.call(made))

    flow: Any = workflow(calls, name="transactions.calls")
    async with Engine(base.url) as engine:
        return await engine.run(flow)


async def pays() -> str:
    executed = everlog.connection().execute(INSERT)
    if not isinstance(executed, sqlite3.Cursor):
        await executed
    return "paid"


def pays_plainly() -> str:
    sync.connection().execute(INSERT)
    return "paid"


# -- where to ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [pays, pays_plainly])
def test_in_the_database_of_the_engine(base: Base, body: Callable[..., Any]) -> None:
    assert asyncio.run(run(base, body)) == "paid"
    assert (base.paid(), base.kept()) == (1, 1)


def test_in_what_a_function_opens(base: Base) -> None:
    assert asyncio.run(run(base, pays_plainly, transaction=lambda: opened(base))) == "paid"
    assert (base.paid(), base.kept()) == (1, 1)


def _for_alchemy(base: Base) -> str:
    if base.url.startswith("sqlite"):
        return base.url
    return server_url().replace("postgresql://", "postgresql+psycopg://")


@pytest.mark.parametrize("kind", ["connection", "session"])
def test_in_connections_and_sessions_of_sqlalchemy(base: Base, kind: str) -> None:
    def body() -> str:
        everlog.connection().execute(text(INSERT))
        return "paid"

    database = create_engine(_for_alchemy(base))
    source = database.begin if kind == "connection" else sessionmaker(database).begin
    assert asyncio.run(run(base, body, transaction=source)) == "paid"
    assert (base.paid(), base.kept()) == (1, 1)
    database.dispose()


@needs_postgres
@pytest.mark.parametrize("kind", ["connection", "session"])
@pytest.mark.parametrize("base", ["postgres"], indirect=True)
def test_in_connections_and_sessions_of_sqlalchemy_for_asyncio(base: Base, kind: str) -> None:
    async def body() -> str:
        await everlog.connection().execute(text(INSERT))
        return "paid"

    async def program() -> Any:
        database = create_async_engine(_for_alchemy(base))
        source = database.begin if kind == "connection" else async_sessionmaker(database).begin
        result = await run(base, body, transaction=source)
        await database.dispose()
        return result

    assert asyncio.run(program()) == "paid"
    assert (base.paid(), base.kept()) == (1, 1)


@needs_postgres
@pytest.mark.parametrize("base", ["postgres"], indirect=True)
def test_in_what_a_coroutine_opens(base: Base) -> None:
    """As psycopg's own connections for asyncio are opened."""
    assert asyncio.run(run(base, pays, transaction=lambda: psycopg.AsyncConnection.connect(server_url()))) == "paid"
    assert (base.paid(), base.kept()) == (1, 1)


# -- exactly once ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [pays, pays_plainly])
def test_what_fails_leaves_nothing_and_is_tried_again_as_any_step(base: Base, body: Callable[..., Any]) -> None:
    tries: list[int] = []

    async def fails_once() -> str:
        await pays()
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("the shop is closed")
        return "paid"

    def fails_once_plainly() -> str:
        pays_plainly()
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("the shop is closed")
        return "paid"

    failing = fails_once if body is pays else fails_once_plainly
    assert asyncio.run(run(base, failing, retry=RetryPolicy(max_attempts=2, first_delay=0.01))) == "paid"
    assert len(tries) == 2
    assert (base.paid(), base.kept()) == (1, 1)


class Losing:
    """Opens transactions, and loses the answers to some commits: `happened` says whether those were made."""

    def __init__(self, base: Base, losses: int, *, happened: bool) -> None:
        self.base = base
        self.losses = losses
        self.happened = happened
        self.commits = 0
        self.away = 0
        """So many times the database cannot be reached now."""

    @contextmanager
    def __call__(self) -> Generator[Any]:
        if self.away:
            self.away -= 1
            raise OSError("the database is away")
        with closing(self.base.connect()) as connection:
            yield connection
            written = connection.execute("SELECT count(*) FROM transactions_ledger").fetchall() != [(0,)]
            if not written or not self.losses:
                connection.commit()
                return
            self.losses -= 1
            self.commits += 1
            self.away = 3
            if self.happened:
                connection.commit()
            raise OSError("the connection was lost")


@pytest.mark.parametrize("happened", [True, False])
def test_a_commit_that_was_not_answered_is_looked_for(base: Base, happened: bool) -> None:
    losing = Losing(base, 1, happened=happened)
    calls: list[int] = []

    def body() -> str:
        calls.append(1)
        return pays_plainly()

    assert asyncio.run(run(base, body, transaction=losing)) == "paid"
    assert (losing.commits, losing.away) == (1, 0), "it was waited for"
    assert len(calls) == (1 if happened else 2)
    assert (base.paid(), base.kept()) == (1, 1)


@pytest.mark.parametrize("is_async", [True, False])
def test_what_another_owner_has_committed_is_taken(base: Base, is_async: bool) -> None:
    """Two run the same call of the same workflow, as when one was thought dead."""
    source = Racing(base)

    async def body() -> str:
        source.let_the_other_in(everlog.current().workflow_id)
        return "second"

    def plain() -> str:
        source.let_the_other_in(everlog.current().workflow_id)
        return "second"

    assert asyncio.run(run(base, body if is_async else plain, transaction=source)) == "first"


class Racing:
    """The first transaction is lost before its commit, and meanwhile another owner has committed the same call."""

    def __init__(self, base: Base) -> None:
        self.base = base
        self.waiting: str | None = None
        self.done = False

    def let_the_other_in(self, workflow_id: str) -> None:
        """Have another owner commit as soon as this transaction is over."""
        self.waiting = workflow_id

    @contextmanager
    def __call__(self) -> Generator[Any]:
        with closing(self.base.connect()) as connection:
            yield connection
            if self.waiting is None or self.done:
                connection.commit()
                return
            self.done = True
            key = connection.execute(f"SELECT workflow_id, life, operation FROM {TABLE}").fetchall()
            connection.rollback()
        values = ", ".join(f"'{part}'" for part in (*key[0], '"first"'))
        self.base.execute(f"INSERT INTO {TABLE} (workflow_id, life, operation, result) VALUES ({values})")
        raise OSError("the connection was lost")


def test_transactions_that_the_database_gives_up_are_begun_anew(base: Base) -> None:
    calls: list[int] = []

    class Conflict(Exception):
        sqlstate = "40001"

    def body() -> str:
        pays_plainly()
        calls.append(1)
        if len(calls) < MOST_CONFLICTS:
            raise Conflict("could not serialize access")
        return "paid"

    assert asyncio.run(run(base, body)) == "paid"
    assert len(calls) == MOST_CONFLICTS
    assert (base.paid(), base.kept()) == (1, 1)
    del calls[:]

    def never() -> str:
        calls.append(1)
        raise Conflict("could not serialize access")

    with pytest.raises(WorkflowFailed, match="could not serialize"):
        asyncio.run(run(base, never))
    assert len(calls) == MOST_CONFLICTS


@needs_postgres
@pytest.mark.parametrize("base", ["postgres"], indirect=True)
def test_counters_that_many_change_at_once_come_out_right(base: Base) -> None:
    """Serializable transactions of which the server gives up many."""
    base.execute("INSERT INTO transactions_ledger VALUES (0)")

    async def adds() -> None:
        connection: psycopg.AsyncConnection[Any] = everlog.connection(type=psycopg.AsyncConnection)
        ((number,),) = await (await connection.execute("SELECT number FROM transactions_ledger")).fetchall()
        await connection.execute("UPDATE transactions_ledger SET number = %s", [number + 1])

    async def serializable() -> psycopg.AsyncConnection[Any]:
        connection = await psycopg.AsyncConnection.connect(server_url())
        await connection.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)
        return connection

    made = step(adds, name="transactions.adds", transaction=serializable)

    async def many() -> None:
        await asyncio.gather(*[made() for _ in range(6)])

    async def program() -> None:
        async with Engine(base.url) as engine:
            await engine.run(workflow(many, name="transactions.many"))

    asyncio.run(program())
    assert base.execute("SELECT number FROM transactions_ledger") == [(6,)]


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_step_sends_and_starts_commits_with_it(base: Base, fails: bool) -> None:
    async def collects() -> list[str]:
        return [await everlog.recv("news", type=str), await everlog.recv("news", type=str, timeout=0.2, default="none")]

    collecting = workflow(collects, name="transactions.collects")
    tries: list[int] = []

    async def body() -> str:
        await pays()
        await everlog.send("collector", "news", "paid")
        await everlog.start(collecting.options(id="started"))
        with pytest.raises(WrongContext, match="after its transaction has committed"):
            await everlog.ask("collector", "news", 1, timeout=1)
        tries.append(1)
        if fails and len(tries) == 1:
            raise ConnectionError("the shop is closed")
        return "paid"

    made = step(body, name="transactions.sends", transaction=True, retry=RetryPolicy(max_attempts=2, first_delay=0.01))

    async def calls() -> str:
        return await made()

    async def program() -> tuple[Any, Any]:
        async with Engine(base.url) as engine:
            handle = await engine.start(collecting.options(id="collector"))
            await engine.run(workflow(calls, name="transactions.calls one that sends"))
            return await handle.result(), (await engine.handle("started").status()).state

    collected, started = asyncio.run(program())
    assert collected == ["paid", "none"]
    assert started != "failed"
    assert len(tries) == 1 + fails


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_step_that_ends_its_transaction_by_itself_fails(base: Base, ends: str) -> None:
    def body() -> None:
        connection = everlog.connection()
        connection.execute(INSERT)
        getattr(connection, ends)()

    with pytest.raises(WorkflowFailed, match="ended its transaction by itself"):
        asyncio.run(run(base, body, transaction=lambda: opened(base)))


def test_a_connection_that_commits_each_statement_is_refused(base: Base) -> None:
    @contextmanager
    def at_once() -> Generator[Any]:
        with closing(base.connect()) as connection:
            if isinstance(connection, sqlite3.Connection):
                connection.isolation_level = None
            else:
                connection.autocommit = True
            yield connection

    with pytest.raises(WorkflowFailed, match="commits each statement by itself"):
        asyncio.run(run(base, pays_plainly, transaction=at_once))
    assert base.paid() == 0


def test_what_opens_no_transaction_is_named(base: Base) -> None:
    with pytest.raises(WorkflowFailed, match="gives no context manager"):
        asyncio.run(run(base, pays_plainly, transaction=lambda: 7))
    with pytest.raises(WorkflowFailed, match="got 7"):
        asyncio.run(run(base, pays_plainly, transaction=lambda: _giving(7)))
    with pytest.raises(WorkflowFailed, match="the database is away"):
        asyncio.run(run(base, pays_plainly, transaction=_failing))


@contextmanager
def _giving(value: object) -> Generator[object]:
    yield value


def _failing() -> Any:
    raise OSError("the database is away")


def test_definitions_that_cannot_hold() -> None:
    for options, match in (
        ({"transaction": 7}, "transaction of step"),
        ({"transaction": True, "at_most_once": True}, "exactly once"),
        ({"transaction": True, "timeout": 5}, "its thread cannot be stopped"),
    ):
        with pytest.raises(InvalidDefinition, match=match):
            step(pays_plainly, name="transactions.refused", **options)  # type: ignore[arg-type, call-overload] # that is the test
    made = step(pays_plainly, name="transactions.not refused", transaction=True)
    with pytest.raises(InvalidDefinition, match="its thread cannot be stopped"):
        made.options(timeout=5)
    step(pays, name="transactions.for asyncio", transaction=True, timeout=5)


def test_in_memory_there_is_no_database() -> None:
    for url in ("memory://", "sqlite:///:memory:"):
        with pytest.raises(WorkflowFailed, match="transaction=True"):
            asyncio.run(run(Base(url, _failing), pays))


def test_there_is_a_connection_in_such_steps_only(base: Base) -> None:
    with pytest.raises(WrongContext, match="body of a step that has transaction="):
        everlog.connection()

    def body() -> None:
        with pytest.raises(UsageError, match="was asked for"):
            everlog.connection(type=int)

    asyncio.run(run(base, body))

    async def plain_step() -> None:
        everlog.connection()

    with pytest.raises(WorkflowFailed, match="body of a step that has transaction="):
        asyncio.run(run(base, plain_step, transaction=False))
