"""Bad input: databases that are none, names that name nothing, ids in use, workflows that nobody here knows."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from dataclasses import dataclass, make_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import (
    Client,
    CorruptLog,
    Engine,
    EverlogError,
    IdInUse,
    NotEncodable,
    NotFound,
    RetryPolicy,
    SchemaMismatch,
    StoreUnavailable,
    UsageError,
    step,
    workflow,
)
from everlog.testing.simulation import SimulatedHost
from tests.support import kinds, make_store, on_both_stores, run

NAN, INFINITE = float("nan"), float("inf")


@workflow(name="bad_input.adds")
async def adds(one: int, other: int = 0) -> int:
    return one + other


@workflow(name="bad_input.receives")
async def receives(number: int = 0) -> Any:
    return await everlog.recv("news")


# -- databases


def refused(url: str, kind: type[EverlogError], *told: str) -> Engine:
    """Check that an engine and a client refuse a database, without waiting for long; give the engine."""
    engine = Engine(url, workflows=[adds])

    async def opens(client: Client) -> None:
        async with asyncio.timeout(10):
            async with client:
                raise AssertionError(f"{url} was opened")

    for client in (engine, Client(url)):
        with pytest.raises(kind) as caught:
            asyncio.run(opens(client))
        for words in told:
            assert words in str(caught.value)
    return engine


def works(engine: Engine) -> None:
    """Check that the same engine can be used once its database is in order."""

    async def main() -> int:
        async with engine:
            return await engine.run(adds, 1, 2)

    assert asyncio.run(main()) == 3


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def test_a_missing_directory_is_named_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "everlog.db"
    engine = refused(url_of(path), StoreUnavailable, str(path), "directory")
    assert not path.parent.exists()
    path.parent.mkdir()
    works(engine)


def test_a_directory_is_not_a_database(tmp_path: Path) -> None:
    refused(url_of(tmp_path), StoreUnavailable, str(tmp_path), "is a directory")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000, os.urandom(8192)])
def test_garbage_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "everlog.db"
    path.write_bytes(content)
    engine = refused(url_of(path), EverlogError, str(path))
    assert path.read_bytes() == content
    path.unlink()
    works(engine)


def test_a_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE customers (name TEXT)")
        other.execute("INSERT INTO customers VALUES ('ann')")
    other.close()
    before = path.read_bytes()
    refused(url_of(path), SchemaMismatch, str(path), "another program")
    assert path.read_bytes() == before


def test_a_schema_of_a_later_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "everlog.db"
    works(Engine(url_of(path), workflows=[adds]))
    database = sqlite3.connect(path, isolation_level=None)
    (version,) = database.execute("PRAGMA user_version").fetchone()
    database.execute("PRAGMA user_version = 99")
    engine = refused(url_of(path), SchemaMismatch, str(path), "99", str(version))
    database.execute(f"PRAGMA user_version = {version}")
    database.close()
    works(engine)


@pytest.mark.parametrize("keep", [0.3, 0.7])
def test_a_truncated_database_is_named_and_does_not_hang(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "everlog.db"
    works(Engine(url_of(path), workflows=[adds]))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) // 4096 * 4096])

    async def main() -> None:
        async with asyncio.timeout(10), Engine(url_of(path), workflows=[adds]) as engine:
            await engine.run(adds, 1, 2)

    with pytest.raises(EverlogError) as caught:
        asyncio.run(main())
    assert str(path) in str(caught.value)
    path.write_bytes(whole)
    works(Engine(url_of(path), workflows=[adds]))


def test_a_file_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "everlog.db"
    works(Engine(url_of(path), workflows=[adds]))
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda *_: False)  # whoever is root may write everything
        engine = refused(url_of(path), StoreUnavailable, str(path), "readable and writable")
    works(engine)


def test_a_database_that_another_process_has_locked_is_named_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everlog_sqlite.connection.PATIENCE", 0.05)
    path = tmp_path / "everlog.db"
    engine = Engine(url_of(path), workflows=[adds])

    async def main() -> None:
        async with engine:
            handle = await engine.start(adds.options(id="before"), 1)
            assert await handle.result() == 1
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="another process holds the write lock") as caught:
                await engine.start(adds.options(id="during"), 2)
            assert str(path) in str(caught.value)
            other.execute("ROLLBACK")
            other.close()
            assert await engine.run(adds.options(id="after"), 3) == 3
            assert {one.id for one in await engine.workflows()} == {"before", "after"}

    asyncio.run(main())


def test_a_database_that_is_locked_when_an_engine_opens_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everlog_sqlite.connection.PATIENCE", 0.05)
    path = tmp_path / "everlog.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    engine = refused(url_of(path), StoreUnavailable, str(path), "lock")
    other.execute("ROLLBACK")
    other.close()
    works(engine)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("everlog.db", "sqlite:///everlog.db"),
        ("", "named by a URL, got ''; write for example sqlite:///shop.db"),
        ("mysql://localhost/everlog", "Install the package of a backend for 'mysql', or use one that is there"),
        ("sqlite", "named by a URL"),
        ("/tmp/everlog.db", "named by a URL"),
    ],
)
def test_a_url_of_no_backend_is_refused_with_the_right_form(url: str, told: str) -> None:
    refused(url, UsageError, told)


@pytest.mark.parametrize("url", [5, None, b"sqlite:///x.db", Path("x.db")])
def test_what_is_neither_a_url_nor_a_store_is_refused(url: Any) -> None:
    with pytest.raises(UsageError, match="URL"):
        Engine(url)
    with pytest.raises(UsageError, match="URL"):
        Client(url)


# -- engines


def test_an_engine_is_opened_once_at_a_time_and_can_be_opened_again() -> None:
    async def main() -> None:
        engine = Engine("memory://", workflows=[adds])
        with pytest.raises(UsageError, match="not open"):
            await engine.run(adds, 1)
        async with engine:
            with pytest.raises(UsageError, match="open already"):
                await engine.__aenter__()
            assert await engine.run(adds, 1) == 1
        with pytest.raises(UsageError, match="not open"):
            await engine.run(adds, 1)
        async with engine:
            assert await engine.run(adds, 2) == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"concurrency": 0}, "concurrency must be a whole number of at least 1, got 0"),
        ({"step_threads": -1}, "step_threads must be a whole number of at least 1, got -1"),
        ({"guards": "loud"}, "guards must be"),
        ({"lease": -1}, "lease"),
        ({"lease": NAN}, "lease"),
        ({"lease": INFINITE}, "lease"),
        ({"lease": "10"}, "lease"),
        ({"lease": 0}, "lease"),
        ({"grace": -1}, "grace"),
        ({"grace": NAN}, "grace"),
        ({"grace": timedelta(days=-1)}, "grace"),
        ({"concurrency": "many"}, "concurrency"),
        ({"concurrency": 1.5}, "concurrency"),
        ({"durability": "some"}, "durability"),
        ({"workflows": [adds.fn]}, "workflow"),
        ({"workflows": [5]}, "workflow"),
    ],
)
def test_options_of_an_engine_that_make_no_sense_are_refused_at_once(options: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Engine("memory://", **options)


# -- ids and inputs


@pytest.mark.parametrize("bad", ["", "x" * 10_000_000, "a\0b", "\ud800", 5, None, b"x"], ids=lambda bad: repr(bad)[:12])
def test_an_id_that_can_name_nothing_is_refused(bad: Any) -> None:
    with pytest.raises(UsageError, match="workflow id"):
        adds.options(id=bad)
    with pytest.raises(UsageError, match="workflow id"):
        Client("memory://").handle(bad)


@on_both_stores
@pytest.mark.parametrize("good", ["é", "snow ☃ man", "a b\tc\n", "x" * 512, "'; DROP TABLE heads; --", "%", "..", "😀"])
def test_any_other_text_is_an_id(good: str, kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(receives.options(id=good))
        await handle.send(good, "unread", key=good)
        await engine.send(good, "news", good)
        assert await handle.result() == good
        assert [one.id for one in await engine.workflows()] == [good]

    run(program, kind=kind, folder=tmp_path, workflows=[receives])


@dataclass
class Order:
    item: str


@workflow(name="bad_input.orders")
async def orders(order: Order) -> str:
    return order.item


@on_both_stores
def test_an_id_with_another_input_or_function_is_in_use_and_both_inputs_are_named(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        first = await engine.start(adds.options(id="w"), 1, 2)
        again = await engine.start(adds.options(id="w"), 1, other=2)
        assert again.id == first.id
        with pytest.raises(IdInUse, match="'w'") as caught:
            await engine.start(adds.options(id="w"), 77, 88)
        for told in ('"one":1', '"other":2', '"one":77', '"other":88', "bad_input.adds"):
            assert told in str(caught.value)
        with pytest.raises(IdInUse, match=r"'bad_input\.adds', not 'bad_input\.orders'"):
            await engine.start(orders.options(id="w"), Order("tea"))
        assert await first.result() == await again.result() == 3
        with pytest.raises(IdInUse):
            await engine.start(adds.options(id="w"), 77, 88)
        assert await (await engine.start(adds.options(id="w"), 1, 2)).result() == 3
        assert len(await engine.workflows()) == 1

    run(program, kind=kind, folder=tmp_path, workflows=[adds, orders])


@on_both_stores
def test_many_who_start_the_same_id_at_once_start_one_workflow(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        async with Client(engine.store, host=engine.host) as client:
            handles = await asyncio.gather(
                *((engine if number % 2 else client).start(adds.options(id="w"), 5) for number in range(20)),
                (engine.start(adds.options(id="w"), 6)),
                return_exceptions=True,
            )
            assert [type(one).__name__ for one in handles].count("IdInUse") in (1, 20)
            assert len(await engine.workflows()) == 1

    run(program, kind=kind, folder=tmp_path, workflows=[adds])


def ordering(order: type[Any]) -> Any:
    @workflow(name="bad_input.deployed")
    async def deployed(order: Any) -> str:
        return str(order.item)

    deployed.fn.__annotations__["order"] = order
    return everlog.workflow(name="bad_input.deployed")(deployed.fn)


def test_an_input_type_that_only_got_a_new_field_with_a_default_gives_the_same_workflow() -> None:
    before = make_dataclass("Deployed", [("item", str)])
    after = make_dataclass("Deployed", [("item", str), ("note", str, "")])

    async def program(engine: Engine) -> None:
        first = await engine.start(ordering(before).options(id="w"), before("tea"))
        assert await first.result() == "tea"
        again = await engine.start(ordering(after).options(id="w"), after("tea"))
        assert await again.result() == "tea"
        with pytest.raises(IdInUse, match="tea"):
            await engine.start(ordering(after).options(id="w"), after("tea", note="hot"))
        with pytest.raises(IdInUse, match="coffee"):
            await engine.start(ordering(after).options(id="w"), after("coffee"))

    run(program)


class Unknown:
    pass


def test_inputs_that_cannot_be_recorded_or_do_not_fit_are_refused_and_nothing_is_started() -> None:
    async def program(engine: Engine) -> None:
        start: Any = engine.start
        changes = engine.store.changes()
        with pytest.raises(NotEncodable, match=r"bad_input\.adds.*one"):
            await start(adds, Unknown())
        with pytest.raises(NotEncodable, match=r"bad_input\.orders"):
            await start(orders, "tea")
        with pytest.raises(TypeError, match="one"):
            await start(adds)
        with pytest.raises(TypeError, match=r"'nothing'; options go through options\(\.\.\.\)"):
            await start(adds, 1, nothing=2)
        with pytest.raises(UsageError, match="@workflow"):
            await start(adds.fn, 1)
        with pytest.raises(UsageError, match="@workflow"):
            await start(lambda: 1)
        with pytest.raises(UsageError, match="leave key= out"):
            await start(step(len, name="bad_input.length").options(key="k"), "tea")
        assert engine.store.changes() == changes
        assert await engine.workflows() == []

    run(program, workflows=[adds, orders])


@on_both_stores
def test_every_question_about_an_unknown_id_is_not_found(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = engine.handle("nobody")
        for asked in (handle.result(), handle.status(), handle.send("news", 1), handle.cancel()):
            with pytest.raises(NotFound, match="'nobody'"):
                await asked
        with pytest.raises(NotFound, match="'nobody'"):
            await handle.history()
        with pytest.raises(NotFound, match="'nobody'"):
            async for _ in handle.history():
                pass

    run(program, kind=kind, folder=tmp_path, workflows=[adds])


# -- durations


@pytest.mark.parametrize("bad", [-1, NAN, INFINITE, -INFINITE, timedelta(seconds=-1), "1", True, 1e300], ids=str)
def test_durations_that_make_no_sense_are_refused(bad: Any) -> None:
    async def nothing() -> None: ...

    with pytest.raises(UsageError, match="timeout"):
        step(nothing, timeout=bad)
    with pytest.raises(UsageError, match="timeout"):
        step(nothing).options(timeout=bad)
    for name in ("first_delay", "max_delay"):
        with pytest.raises(UsageError, match=name):
            RetryPolicy(**{name: bad})

    async def program(engine: Engine) -> None:
        with pytest.raises(UsageError, match="timeout"):
            await engine.handle("w").result(timeout=bad)

    run(program, workflows=[adds])


@pytest.mark.parametrize(
    "bad",
    [
        {"max_attempts": 0},
        {"max_attempts": -1},
        {"max_attempts": 1.5},
        {"max_attempts": "3"},
        {"backoff": 0.5},
        {"backoff": NAN},
        {"backoff": INFINITE},
        {"backoff": "2"},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"jitter": NAN},
        {"retry_on": ["ValueError"]},
        {"retry_on": (5,)},
        {"give_up_on": ("ValueError",)},
    ],
    ids=str,
)
def test_policies_that_make_no_sense_are_refused(bad: Any) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        RetryPolicy(**bad)


# -- workflows that nobody here knows


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "does not know" in record.getMessage()]


@on_both_stores
def test_a_workflow_that_is_not_known_is_left_alone_and_warned_of_once(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        store = make_store(host, kind, tmp_path)
        async with Client(store, host=host.sibling()) as client:
            for number in range(3):
                await client.start(receives.options(id=f"w{number}"), number)
            async with Engine(store, host=host.sibling(), workflows=[adds]) as engine:
                await asyncio.sleep(5)
                assert len(warned(caplog)) == 1
                assert "'bad_input.receives'" in warned(caplog)[0]
                assert "'w" in warned(caplog)[0]
                assert await engine.run(adds, 1) == 1
                await client.start(receives.options(id="w3"))
                await asyncio.sleep(30)
                assert len(warned(caplog)) == 1
                assert await kinds(client.handle("w0")) == ["workflow_created"]
                assert (await client.handle("w0").status()).state == "queued"
            async with Engine(store, host=host.sibling(), workflows=[adds, receives]) as engine:
                await client.send("w0", "news", "hello")
                assert await client.handle("w0").result(timeout=10) == "hello"
                assert len(warned(caplog)) == 1
                await engine.cancel("w1", "w2", "w3")

    with caplog.at_level(logging.WARNING, logger="everlog"):
        host.run(main())


def test_a_workflow_that_comes_later_is_warned_of_within_seconds(caplog: pytest.LogCaptureFixture) -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        store = make_store(host)
        async with (
            Client(store, host=host.sibling()) as client,
            Engine(store, host=host.sibling(), workflows=[adds]),
        ):
            await asyncio.sleep(5)
            assert warned(caplog) == []
            await client.start(receives)
            await client.start(orders, Order("tea"))
            await asyncio.sleep(15)
            assert sorted("'bad_input.receives'" in text for text in warned(caplog)) == [False, True]

    with caplog.at_level(logging.WARNING, logger="everlog"):
        host.run(main())


def test_what_other_engines_run_or_what_has_ended_is_no_reason_for_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        store = make_store(host)
        async with (
            Engine(store, host=host.sibling(), workflows=[receives, orders]) as other,
            Engine(store, host=host.sibling(), workflows=[adds]),
        ):
            await other.start(receives)
            await other.run(orders, Order("tea"))
            await asyncio.sleep(30)
        assert warned(caplog) == []

    with caplog.at_level(logging.WARNING, logger="everlog"):
        host.run(main())


def test_a_damaged_history_is_stuck_and_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "everlog.db"

    async def main() -> None:
        async with Client(url_of(path)) as client:
            await client.start(adds.options(id="w"), 1)
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("UPDATE events SET payload = replace(payload, 'workflow_created', 'workflow_dreamt')")
        database.close()
        async with Engine(url_of(path), workflows=[adds]) as engine:
            for _ in range(100):
                (status,) = await engine.workflows()
                if status.state == "stuck":
                    break
                await asyncio.sleep(0.02)
            assert status.state == "stuck"
            assert "workflow_dreamt" in str(status.error)
            assert await engine.run(adds, 5) == 5
            with pytest.raises(CorruptLog, match="workflow_dreamt"):
                await engine.handle("w").status()

    asyncio.run(main())
