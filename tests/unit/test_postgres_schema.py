"""The schema of the Postgres store: made once however many come at once, and refused with a reason otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from threading import Thread

import pytest

from everlog import Engine, step, workflow
from everlog.cli.main import main
from everlog.errors import SchemaMismatch, StoreUnavailable, UsageError
from everlog.store import Done
from everlog.testing.making import create, new
from everlog_postgres import open_store
from everlog_postgres.migrations import MIGRATIONS
from everlog_postgres.statements import in_schema
from everlog_postgres.urls import parse
from tests.postgres import administrator, needs_postgres, new_schema, server_url, with_options

pytestmark = needs_postgres


@step
async def double(number: int) -> int:
    return 2 * number


@workflow(name="postgres_schema.doubles")
async def doubles(number: int) -> int:
    return await double(number)


@pytest.fixture
def url() -> str:
    return new_schema()


def schema_of(url: str) -> str:
    return parse(url).schema


@pytest.fixture
def least(url: str) -> Iterator[str]:
    """The URL of a user with the rights that docs/postgres.md gives, and no other."""
    schema, role = schema_of(url), f"{schema_of(url)}_worker"
    open_store(url).close()
    with administrator() as connection:
        for statement in (
            f'CREATE ROLE "{role}" LOGIN',
            f'GRANT USAGE ON SCHEMA "{schema}" TO "{role}"',
            f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{schema}" TO "{role}"',
        ):
            connection.execute(statement.encode())
        yield url.replace("://postgres:@", f"://{role}@")
        connection.execute(f'DROP OWNED BY "{role}"'.encode())
        connection.execute(f'DROP ROLE "{role}"'.encode())


def test_the_schema_is_made_once_by_many_at_once(url: str) -> None:
    outcomes: list[object] = []

    def open_and_create(number: int) -> None:
        store = open_store(url)
        outcomes.append(create(store, new(f"order-{number}")))
        store.close()

    threads = [Thread(target=open_and_create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [Done()] * 6
    with administrator() as connection:
        names = connection.execute(in_schema("SELECT name FROM everlog.migrations", schema_of(url)).encode())
        assert [name for (name,) in names.fetchall()] == list(MIGRATIONS)


def test_a_schema_from_a_later_version_is_left_alone(url: str) -> None:
    open_store(url).close()
    with administrator() as connection:
        later = in_schema("INSERT INTO everlog.migrations (number, name) VALUES (999, 'later')", schema_of(url))
        connection.execute(later.encode())
    with pytest.raises(SchemaMismatch, match="migration 999"):
        open_store(url)


def test_a_schema_with_tables_of_another_program_is_left_alone(url: str) -> None:
    with administrator() as connection:
        connection.execute(f'CREATE SCHEMA "{schema_of(url)}"'.encode())
        connection.execute(f'CREATE TABLE "{schema_of(url)}".orders ()'.encode())
    with pytest.raises(SchemaMismatch, match="another program"):
        open_store(url)


@pytest.mark.parametrize("how", ["create=False", "migrate=off"])
def test_a_missing_schema_is_not_made_where_that_is_not_wanted(url: str, how: str) -> None:
    with pytest.raises(SchemaMismatch, match="everlog migrate"):
        open_store(url, create=False) if how == "create=False" else open_store(with_options(url, how))
    with administrator() as connection:
        assert not connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema_of(url),)).fetchall()


def test_the_command_makes_the_schema(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", url]) == 0
    assert "tables" in capsys.readouterr().out
    assert create(open_store(url, create=False), new("order")) == Done()


def test_a_user_with_the_documented_rights_runs_workflows(least: str) -> None:
    async def program() -> int:
        async with Engine(with_options(least, "migrate=off")) as engine:
            return await engine.run(doubles, 21)

    assert asyncio.run(program()) == 42


def test_a_user_without_the_right_to_make_a_schema_is_told_what_to_do(least: str) -> None:
    with pytest.raises(SchemaMismatch, match="everlog migrate"):
        open_store(least.replace(f"schema={schema_of(least)}", "schema=nobody_made_this"))


def test_a_user_without_a_right_to_write_is_told_what_is_missing(least: str) -> None:
    with administrator() as connection:
        role, schema = f"{schema_of(least)}_worker", schema_of(least)
        connection.execute(f'REVOKE INSERT ON ALL TABLES IN SCHEMA "{schema}" FROM "{role}"'.encode())
    store = open_store(least)
    with pytest.raises(StoreUnavailable, match="GRANT"):
        create(store, new("order"))
    store.close()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("schema=a-b", "plain name"),
        ("schema=", "plain name"),
        ("prepare=maybe", "on or off"),
        ("no_option=1", "no_option"),
    ],
)
def test_a_wrong_option_is_named(option: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_store(with_options(server_url(), option))


def test_errors_show_no_password() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        open_store("postgresql://someone:secret@127.0.0.1:1/nothing?connect_timeout=1")
    assert "secret" not in str(caught.value)
    assert "'nothing'" in str(caught.value)


def test_a_database_of_another_isolation_is_refused_where_it_cannot_be_set(url: str) -> None:
    role = f"{schema_of(url)}_strict"
    with administrator() as connection:
        connection.execute(f'CREATE ROLE "{role}" LOGIN SUPERUSER'.encode())
        connection.execute(f"ALTER ROLE \"{role}\" SET default_transaction_isolation = 'serializable'".encode())
    strict = url.replace("://postgres:@", f"://{role}@")
    with pytest.raises(SchemaMismatch, match="read committed"):
        open_store(with_options(strict, "prepare=off"))
    store = open_store(strict)
    assert create(store, new("order")) == Done()
    store.close()
