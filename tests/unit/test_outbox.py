"""Starts, messages and enqueues within a transaction of the user's: there if and only if it commits."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import psycopg
import pytest
from psycopg.rows import dict_row

import everlog
from everlog import Client, Duplicate, Engine, IdInUse, NotFound, Queue, UsageError, WrongContext, step, sync, workflow
from everlog.errors import StoreUnavailable
from everlog_postgres import wakeups
from tests.citus import as_if_distributed
from tests.postgres import needs_postgres, new_schema, server_url, with_options

P = ParamSpec("P")
mail = Queue("mail")


@workflow
async def greet(name: str, *, loud: bool = False) -> str:
    return f"Hello {name}{'!' if loud else ''}"


@workflow
async def other(name: str) -> str:
    return name


@workflow
async def collect(number: int) -> list[int]:
    return [await everlog.recv("number", type=int) for _ in range(number)]


@step(name="outbox.work")
async def work(number: int) -> int:
    return number


@workflow
async def works_and_waits(steps: int) -> int:
    total = sum([await work(number) for number in range(steps)])
    await everlog.set_value("total", total)
    return total + await everlog.recv("more", type=int)


@workflow
async def uses(connection: object = None) -> None:
    current["engine"].using(current["connection"])


current: dict[str, Any] = {}


class Base(NamedTuple):
    """A database with a table of the user's in it."""

    url: str
    connect: Callable[[], Any]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_postgres)])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Base:
    if request.param == "postgres":
        return Base(new_schema(), lambda: psycopg.connect(server_url()))
    return Base(f"sqlite:///{tmp_path}/shop.db", lambda: sqlite3.connect(tmp_path / "shop.db"))


@pytest.fixture
def in_file(tmp_path: Path) -> Base:
    return Base(f"sqlite:///{tmp_path}/shop.db", lambda: sqlite3.connect(tmp_path / "shop.db"))


@pytest.fixture
def on_server() -> Base:
    return Base(new_schema(), lambda: psycopg.connect(server_url()))


def awaited(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def is_there(client: Client, workflow_id: str) -> bool:
    return any([one.id == workflow_id async for one in client.workflows()])


# -- on both databases -------------------------------------------------------------------------------------------------


@awaited
async def test_what_is_started_runs_if_the_user_commits(base: Base) -> None:
    async with Engine(base.url) as engine:
        with closing(base.connect()) as connection:
            outbox = engine.using(connection)
            handle = await outbox.start(greet.options(id="committed"), "you", loud=True)
            assert not await is_there(engine, "committed")
            connection.commit()
            assert await handle.result() == "Hello you!"
            lost = await outbox.start(greet.options(id="lost"), "you")
            connection.rollback()
            assert not await is_there(engine, "lost")
            with pytest.raises(NotFound):
                await lost.status()


@awaited
async def test_an_id_starts_once_in_and_out_of_transactions(base: Base) -> None:
    async with Engine(base.url) as engine:
        before = await engine.start(greet.options(id="before"), "you")
        await before.result()
        with closing(base.connect()) as connection:
            outbox = engine.using(connection)
            for workflow_id in ("before", "mine", "mine"):
                handle = await outbox.start(greet.options(id=workflow_id), "you")
                assert handle.id == workflow_id
            for workflow_id in ("before", "mine"):
                with pytest.raises(IdInUse, match="with another input"):
                    await outbox.start(greet.options(id=workflow_id), "me")
                with pytest.raises(IdInUse, match="is a workflow 'greet', not 'other'"):
                    await outbox.start(other.options(id=workflow_id), "you")
            connection.commit()
        assert await engine.handle("mine", greet).result() == "Hello you"
        assert (await engine.start(greet.options(id="mine"), "you")).id == "mine"


@awaited
async def test_messages_come_in_order_and_once_per_key(base: Base) -> None:
    async with Engine(base.url) as engine:
        await engine.start(collect.options(id="collects"), 5)
        with closing(base.connect()) as connection:
            outbox = engine.using(connection)
            for number in range(3):
                await outbox.send("collects", "number", number)
            for _ in range(2):
                await outbox.send("collects", "number", 3, key="three")
            connection.commit()
            await outbox.send("collects", "number", -1)
            connection.rollback()
            await engine.using(connection).send("collects", "number", 4)
            connection.commit()
        await engine.handle("collects").send("number", 3, key="three")
        assert await engine.handle("collects", collect).result() == [0, 1, 2, 3, 4]


@awaited
async def test_nobody_is_sent_to_who_is_not_there(base: Base) -> None:
    async with Engine(base.url) as engine:
        await engine.run(greet.options(id="over"), "you")
        with closing(base.connect()) as connection:
            for workflow_id, reason in (("nobody", "there is no workflow 'nobody'"), ("over", "has ended")):
                with pytest.raises(NotFound, match=reason):
                    await engine.using(connection).send(workflow_id, "number", 1)
            await engine.using(connection).start(collect.options(id="mine"), 1)
            await engine.using(connection).send("mine", "number", 7)  # the transaction is as good as before
            connection.commit()
        assert await engine.handle("mine", collect).result() == [7]


@awaited
async def test_workflows_are_put_into_queues(base: Base) -> None:
    async with Engine(base.url, queues=[mail]) as engine:
        with closing(base.connect()) as connection:
            outbox = engine.using(connection)
            with pytest.raises(NotFound, match=r"there is no queue 'post' .* queues=\[\.\.\.\]"):
                await outbox.queue("post").enqueue(greet, "you")
            handles = [await outbox.queue(queue).enqueue(greet, "you") for queue in (mail, "mail")]
            handles.append(await outbox.start(work, 3))
            connection.commit()
        assert [await handle.result() for handle in handles] == ["Hello you", "Hello you", 3]
        assert [(await handle.status()).queue for handle in handles] == ["mail", "mail", None]


@awaited
async def test_a_dedup_key_stands_for_one_workflow(base: Base) -> None:
    later = greet.options(queue=mail, dedup_key="k", delay=3600)
    async with Engine(base.url, queues=[mail]) as engine:
        with closing(base.connect()) as connection:
            outbox = engine.using(connection)
            first = await outbox.start(later, "you")
            assert (await outbox.start(later, "me")).id == first.id
            connection.commit()
            assert (await engine.start(later, "them")).id == first.id
            with pytest.raises(Duplicate) as raised:
                await outbox.start(later.options(if_duplicate="raise"), "you")
            assert raised.value.workflow_id == first.id
            with pytest.raises(Duplicate, match="which is a 'greet' and not a 'other'"):
                await outbox.start(other.options(queue=mail, dedup_key="k"), "you")
            with pytest.raises(UsageError, match="if_duplicate='replace' in your transaction"):
                await outbox.start(later.options(if_duplicate="replace"), "you")


def test_blocking_code_uses_its_own_thread(base: Base) -> None:
    with sync.Engine(base.url, queues=[mail]) as engine, closing(base.connect()) as connection:
        outbox = engine.using(connection)
        handle = outbox.start(collect.options(id="collects"), 1)
        outbox.send("collects", "number", 1)
        queued = outbox.queue(mail).enqueue(greet, "you")
        connection.commit()
        assert (handle.result(), queued.result()) == ([1], "Hello you")


@awaited
async def test_a_client_starts_for_an_engine_elsewhere(base: Base) -> None:
    async with Engine(base.url), Client(base.url) as client:
        with closing(base.connect()) as connection:
            handle = await client.using(connection).start(greet, "you")
            connection.commit()
        assert await handle.result() == "Hello you"


@awaited
async def test_the_rows_of_the_user_and_the_workflow_are_there_together(base: Base) -> None:
    async with Engine(base.url) as engine:
        with closing(base.connect()) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS orders_of_the_test (id text)")
            connection.execute("DELETE FROM orders_of_the_test")
            connection.commit()
            for number, end in enumerate((connection.commit, connection.rollback) * 3):
                connection.execute(f"INSERT INTO orders_of_the_test VALUES ('order-{number}')")
                await engine.using(connection).start(greet.options(id=f"order-{number}"), "you")
                end()
            rows = {row[0] for row in connection.execute("SELECT id FROM orders_of_the_test")}
            connection.rollback()
        assert rows == {one.id async for one in engine.workflows()} == {"order-0", "order-2", "order-4"}


@awaited
async def test_what_has_the_drivers_connection_is_taken_for_it(base: Base) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    orm = pytest.importorskip("sqlalchemy.orm")
    scheme, _, rest = (server_url() if base.url.startswith("postgres") else base.url).partition("://")
    made = sqlalchemy.create_engine(f"{'postgresql+psycopg' if scheme != 'sqlite' else scheme}://{rest}")
    async with Engine(base.url) as engine:
        with made.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
            first = await engine.using(connection).start(greet, "connection")
            connection.commit()
            await engine.using(connection).start(greet.options(id="lost"), "connection")
            connection.rollback()
        with orm.Session(made) as session, session.begin():
            second = await engine.using(session).start(greet, "session")
        assert [await first.result(), await second.result()] == ["Hello connection", "Hello session"]
        assert not await is_there(engine, "lost")
    made.dispose()


@awaited
async def test_workflow_code_has_no_outbox(base: Base) -> None:
    async with Engine(base.url) as engine:
        with closing(base.connect()) as connection:
            current.update(engine=engine, connection=connection)
            with pytest.raises(everlog.WorkflowFailed) as failed:
                await engine.run(uses)
        assert isinstance(failed.value.__cause__, WrongContext)


@awaited
async def test_a_store_without_connections_says_so(base: Base) -> None:
    for url in ("memory://", "sqlite:///:memory:"):
        async with Engine(url) as engine:
            with closing(base.connect()) as connection, pytest.raises(UsageError, match=r"in memory|SupportsOutbox"):
                engine.using(connection)


@awaited
async def test_what_is_no_connection_is_refused(base: Base) -> None:
    async with Engine(base.url) as engine:
        for given in (None, base.url, object(), 3):
            with pytest.raises(UsageError, match=r"using\(\) takes a"):
                engine.using(given)


# -- on SQLite ---------------------------------------------------------------------------------------------------------


@awaited
async def test_a_connection_to_another_file_is_refused(in_file: Base, tmp_path: Path) -> None:
    async with Engine(in_file.url) as engine:
        for file in (tmp_path / "other.db", ":memory:"):
            with closing(sqlite3.connect(file)) as connection:
                with pytest.raises(UsageError, match="keeps its workflows in"):
                    await engine.using(connection).start(greet, "you")
                connection.execute("ATTACH ? AS log", [str(tmp_path / "shop.db")])
                with pytest.raises(UsageError, match="attached as 'log': SQLite does not commit to two files as one"):
                    await engine.using(connection).start(greet, "you")


@awaited
async def test_without_a_transaction_nothing_is_written(in_file: Base, tmp_path: Path) -> None:
    async with Engine(in_file.url) as engine:
        with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as connection:
            with pytest.raises(UsageError, match=r'has no transaction open.*"BEGIN IMMEDIATE"'):
                await engine.using(connection).start(greet, "you")
            connection.execute("BEGIN")
            handle = await engine.using(connection).start(greet, "you")
            connection.execute("COMMIT")
            assert await handle.result() == "Hello you"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 of this Python knows no autocommit=")
@awaited
async def test_the_newer_way_to_say_who_begins_transactions_counts(in_file: Base, tmp_path: Path) -> None:
    options: dict[str, Any] = {"autocommit": True}
    async with Engine(in_file.url) as engine:
        refused = pytest.raises(UsageError, match="has no transaction open")
        with closing(sqlite3.connect(tmp_path / "shop.db", **options)) as connection, refused:
            await engine.using(connection).start(greet, "you")
        with closing(sqlite3.connect(tmp_path / "shop.db", **(options | {"autocommit": False}))) as connection:
            handle = await engine.using(connection).start(greet, "you")
            connection.commit()
            assert await handle.result() == "Hello you"


@awaited
async def test_a_connection_that_only_reads_is_refused(in_file: Base, tmp_path: Path) -> None:
    async with Engine(in_file.url) as engine:
        with closing(in_file.connect()) as connection:
            connection.execute("PRAGMA query_only = 1")
            with pytest.raises(UsageError, match="only reads"):
                await engine.using(connection).start(greet, "you")
        refused = pytest.raises(StoreUnavailable, match="read-only")
        with closing(sqlite3.connect(f"file:{tmp_path}/shop.db?mode=ro", uri=True)) as connection, refused:
            await engine.using(connection).start(greet, "you")


@awaited
async def test_a_connection_that_cannot_be_used_here_is_refused(in_file: Base) -> None:
    async with Engine(in_file.url) as engine:
        connection = in_file.connect()
        raised: list[BaseException] = []

        def use_it() -> None:
            try:
                asyncio.run(engine.using(connection).start(greet, "you"))  # type: ignore[arg-type]
            except UsageError as error:
                raised.append(error)

        thread = threading.Thread(target=use_it)
        thread.start()
        thread.join()
        assert "used by the thread that calls" in str(raised[0])
        connection.close()
        with pytest.raises(UsageError, match="it must be open"):
            await engine.using(connection).start(greet, "you")


@awaited
async def test_a_transaction_that_read_before_others_wrote_says_how_to_go_on(in_file: Base) -> None:
    async with Engine(in_file.url) as engine:
        with closing(in_file.connect()) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM heads").fetchall()
            await engine.run(greet, "somebody")
            with pytest.raises(StoreUnavailable, match="from BEGIN IMMEDIATE on"):
                await engine.using(connection).start(greet, "you")
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            handle = await engine.using(connection).start(greet, "you")
            connection.execute("COMMIT")
            assert await handle.result() == "Hello you"


@awaited
async def test_a_start_that_fails_half_way_leaves_nothing(in_file: Base) -> None:
    async with Engine(in_file.url) as engine:
        with closing(in_file.connect()) as connection:
            connection.execute("CREATE TABLE orders (id)")
            connection.execute("INSERT INTO orders VALUES ('kept')")
            connection.execute(
                "CREATE TEMP TRIGGER half_way BEFORE INSERT ON events BEGIN SELECT raise(ABORT, 'no'); END"
            )
            with pytest.raises(everlog.EverlogError):
                await engine.using(connection).start(greet.options(id="half"), "you")
            connection.execute("DROP TRIGGER half_way")
            connection.commit()
            assert connection.execute("SELECT id FROM orders").fetchall() == [("kept",)]
            assert connection.execute("SELECT count(*) FROM heads").fetchall() == [(0,)]


@awaited
async def test_what_the_user_set_on_a_file_does_not_matter(in_file: Base) -> None:
    async with Engine(in_file.url, queues=[mail]) as engine:
        with closing(in_file.connect()) as connection:
            connection.row_factory = lambda cursor, row: {"no": row}
            connection.text_factory = bytes
            handle = await engine.using(connection).start(greet.options(id="one", queue=mail, dedup_key="k"), "you")
            again = await engine.using(connection).start(greet.options(id="one", queue=mail, dedup_key="k"), "you")
            connection.commit()
            assert (again.id, await handle.result()) == ("one", "Hello you")


# -- on Postgres -------------------------------------------------------------------------------------------------------


@needs_postgres
@awaited
async def test_a_workflow_goes_on_while_a_transaction_that_sent_to_it_stays_open(on_server: Base) -> None:
    async with Engine(on_server.url) as engine:
        handle = await engine.start(works_and_waits.options(id="works"), 50)
        with closing(on_server.connect()) as connection:
            outbox = engine.using(connection)
            await outbox.send("works", "more", 1000)
            await outbox.start(greet.options(id="held back"), "you")
            # All of its commits, and those of the others, are made while the transaction is open.
            assert await handle.get_value("total", type=int, timeout=60) == sum(range(50))
            assert await engine.run(greet, "others") == "Hello others"
            connection.commit()
        assert await handle.result() == sum(range(50)) + 1000


@needs_postgres
@awaited
async def test_workers_are_woken_by_the_commit_of_the_user(on_server: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of other processes, which hear nothing from the server but what the one that wrote tells them."""
    monkeypatch.setattr(wakeups, "LOOK_ANYWAY", 3600.0)
    async with Engine(on_server.url), Client(on_server.url) as client:
        await asyncio.sleep(2 * wakeups._ECHO)  # from then on nobody looks without having heard of something
        with closing(on_server.connect()) as connection:
            for end in (connection.rollback, connection.commit):
                handle = await client.using(connection).start(greet, "you")
                await asyncio.sleep(0.1)
                end()
        assert await handle.result(timeout=60) == "Hello you"


@needs_postgres
@awaited
async def test_connections_for_asyncio_are_awaited(on_server: Base) -> None:
    made = psycopg.AsyncConnection.connect(server_url())
    async with Engine(on_server.url, queues=[mail]) as engine, await made as connection:
        outbox = engine.using(connection)
        keyed = [greet.options(queue=mail, dedup_key=f"{number % 3}") for number in range(9)]
        async with connection.transaction():
            handles = await asyncio.gather(*[outbox.start(one, "you") for one in keyed])
            collects = await outbox.start(collect.options(id="collects"), 5)
            await asyncio.gather(*[outbox.send("collects", "number", one, key=str(one)) for one in range(5)])
        assert len({handle.id for handle in handles}) == 3
        assert [await handle.result() for handle in handles] == ["Hello you"] * 9
        assert sorted(await collects.result()) == list(range(5))

    def use_it_in_blocking_code() -> None:
        with sync.Client(on_server.url) as blocking, pytest.raises(UsageError, match="one for asyncio"):
            blocking.using(connection)

    await asyncio.to_thread(use_it_in_blocking_code)


@needs_postgres
@awaited
async def test_another_database_is_refused(on_server: Base) -> None:
    elsewhere = new_schema()
    async with Engine(on_server.url) as engine, Client(elsewhere):
        with closing(on_server.connect()) as connection:
            await engine.using(connection).start(greet, "you")
        async with Client(with_options(server_url(), "schema=" + elsewhere.rpartition("schema=")[2])) as there:
            with closing(psycopg.connect(server_url(), dbname="template1")) as connection:
                for client in (engine, there):
                    with pytest.raises(UsageError, match="another database, or to another server"):
                        await client.using(connection).start(greet, "you")


@needs_postgres
@awaited
async def test_a_server_that_was_started_anew_is_the_same_database(on_server: Base) -> None:
    async with Engine(on_server.url) as engine:
        home = engine.store._home  # type: ignore[attr-defined]
        with closing(on_server.connect()) as connection:
            await engine.using(connection).start(greet, "you")
            home._known = home._known._replace(started_at=1)
            await engine.using(connection).start(greet, "you")
            assert home._known.started_at > 1


@needs_postgres
@awaited
async def test_transactions_that_cannot_be_written_in_are_refused(on_server: Base) -> None:
    async with Engine(on_server.url) as engine:

        async def refused(connection: Any, match: str) -> None:
            with pytest.raises(UsageError, match=match):
                await engine.using(connection).start(greet.options(id="refused"), "you")

        with closing(psycopg.connect(server_url(), autocommit=True)) as connection:
            await refused(connection, r'no transaction open.*"with connection.transaction\(\):"')
            with connection.transaction():
                handle = await engine.using(connection).start(greet, "you")
            assert await handle.result() == "Hello you"
        with closing(on_server.connect()) as connection:
            with pytest.raises(psycopg.errors.DivisionByZero):
                connection.execute("SELECT 1 / 0")
            await refused(connection, "has failed before.*roll it back")
            connection.rollback()
            connection.execute("SET TRANSACTION READ ONLY")
            await refused(connection, "only reads")
        await refused(connection, "is closed")
        with closing(psycopg.connect(server_url(), client_encoding="latin1")) as connection:
            await refused(connection, "client_encoding='utf8'")
        assert not await is_there(engine, "refused")


@needs_postgres
@awaited
async def test_what_the_user_set_on_a_connection_does_not_matter(on_server: Base) -> None:
    async with Engine(on_server.url, queues=[mail]) as engine:
        placed = greet.options(id="one", queue=mail, dedup_key="k")
        with psycopg.connect(server_url(), row_factory=dict_row, cursor_factory=psycopg.ClientCursor) as connection:
            connection.execute("SET search_path = ''")
            connection.execute("SET TimeZone = 'Asia/Kathmandu'")
            handle = await engine.using(connection).start(placed, "you")
            with connection.pipeline():
                assert (await engine.using(connection).start(placed, "you")).id == "one"
        assert await handle.result() == "Hello you"


@needs_postgres
@pytest.mark.parametrize("level", ["READ COMMITTED", "SERIALIZABLE"])
@awaited
async def test_two_transactions_that_take_one_key_come_to_one_workflow(on_server: Base, level: str) -> None:
    placed = greet.options(queue=mail, dedup_key="k", delay=3600)
    async with Engine(on_server.url, queues=[mail]) as engine:
        with closing(on_server.connect()) as first, closing(on_server.connect()) as second:
            second.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            second.execute("SELECT 1")
            mine = await engine.using(first).start(placed, "you")
            theirs = asyncio.create_task(asyncio.to_thread(asyncio.run, engine.using(second).start(placed, "you")))
            await asyncio.sleep(0.2)
            first.commit()
            if level == "READ COMMITTED":
                assert (await theirs).id == mine.id
                second.commit()
            else:
                with pytest.raises(StoreUnavailable) as raised:
                    await theirs
                assert isinstance(raised.value.__cause__, psycopg.Error)
                second.rollback()
        assert [one.id async for one in engine.workflows()] == [mine.id]


@needs_postgres
@awaited
async def test_distributed_tables_take_part_in_no_transaction(on_server: Base) -> None:
    async with Engine(as_if_distributed()) as engine:
        refused = pytest.raises(UsageError, match=r"distributed over several servers.*options\(id=...\)")
        with closing(on_server.connect()) as connection, refused:
            engine.using(connection)
