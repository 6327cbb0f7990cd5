"""Looking for what other processes wrote to a SQLite file: cheap where nobody did, and nothing is missed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from everlog import Engine, workflow
from everlog.errors import StoreUnavailable
from everlog.testing.making import create, new
from everlog_sqlite import SqliteStore, changes
from everlog_sqlite.connection import Connection
from tests.support import until


@workflow(name="sqlite_changes.nothing")
async def nothing() -> int:
    return 1


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[SqliteStore, SqliteStore]]:
    stores = SqliteStore(tmp_path / "test.db"), SqliteStore(tmp_path / "test.db")
    yield stores
    for store in stores:
        store.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What SQLite is asked by way of single values."""
    questions: list[str] = []
    value = Connection.value

    def noted(self: Connection, sql: str, parameters: tuple[()] = ()) -> object:
        questions.append(sql)
        return value(self, sql, parameters)

    monkeypatch.setattr(Connection, "value", noted)
    return questions


def test_where_nobody_writes_sqlite_is_not_asked(
    pair: tuple[SqliteStore, SqliteStore], asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "SETTLING", 0.0)
    monkeypatch.setattr(changes, "ANYWAY", 3600.0)
    here, there = pair
    first = here.changes()
    for number in range(3):
        before = here.changes()
        del asked[:]
        assert [here.changes() for _ in range(100)] == [before] * 100
        assert asked == []
        create(there, new(f"order-{number}"))
        assert here.changes() != before, "noticed by the next look"
    assert here.changes() != first


def test_a_write_that_becomes_visible_only_later_is_noticed(
    pair: tuple[SqliteStore, SqliteStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is written, then the disk is waited for, and then others see it: by then the log does not change."""
    here, there = pair
    before = here.changes()
    look = here._changes._log
    create(there, new("order"))
    log = Path(look._log).stat()
    look._written_at, look._size = log.st_mtime_ns, log.st_size  # it was looked at after the writing, before the end
    assert here.changes() != before, "it is asked for a while after a write was seen"
    monkeypatch.setattr(changes, "SETTLING", -1.0)
    monkeypatch.setattr(changes, "ANYWAY", 0.0)
    before = here.changes()
    create(there, new("another"))
    log = Path(look._log).stat()
    look._written_at, look._size, look._ask_until = log.st_mtime_ns, log.st_size, float("-inf")
    assert here.changes() != before, "and now and then in any case"


def test_a_log_that_cannot_be_looked_at_is_asked_for_every_time(
    pair: tuple[SqliteStore, SqliteStore], asked: list[str]
) -> None:
    """As on systems that tell the time of a write only when the file is closed."""
    here, there = pair
    here._changes._log._log = ""
    before = here.changes()
    create(there, new("order"))
    assert here.changes() != before
    del asked[:]
    assert here.changes() == here.changes()
    assert asked == ["PRAGMA data_version"] * 2


def test_a_store_that_was_closed_after_it_looked_is_unavailable(pair: tuple[SqliteStore, SqliteStore]) -> None:
    pair[0].changes()
    pair[0].close()
    with pytest.raises(StoreUnavailable, match="closed"):
        pair[0].changes()


def test_an_engine_at_rest_looks_and_does_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("everlog.runtime.shell.LONGEST_REST", 3600.0)

    async def program() -> None:
        store = SqliteStore(tmp_path / "test.db")
        async with Engine(store, lease=3600, workflows=[nothing]) as engine:
            assert await engine.run(nothing) == 1
            shell = engine._open_shell()
            await until(lambda: shell._rests_until > 0)
            rounds: list[int] = []
            monkeypatch.setattr(shell, "_round", lambda: rounds.append(1))
            looked = shell._polled_at
            for _ in range(10):
                await asyncio.sleep(0.02)
            assert not rounds
            assert shell._polled_at > looked
            monkeypatch.undo()
            assert await engine.run(nothing) == 1, "and comes back when there is something to do"
        store.close()

    asyncio.run(program())
