"""What a server may run out of while workflows run: connections, disk. They wait, go on, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from tests.crash.surviving import connections, ledgered, sizes, survive
from tests.mounts import fill, small_file_system
from tests.postgres import (
    VARIABLE,
    administrator,
    limited_user,
    needs_postgres,
    new_schema,
    started_server,
    with_options,
)

pytestmark = needs_postgres
HOLDS = 1.0
"""Seconds for which there is a shortage."""


@pytest.fixture
def url() -> Iterator[str]:
    yield from ledgered(new_schema())


@sizes
def test_no_connection_is_to_be_had_for_a_while(url: str, tours: int) -> None:
    with limited_user() as (name, limit):

        def take_all(number: int) -> None:
            limit(number)
            with administrator() as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", [name]
                )
            time.sleep(HOLDS)
            assert connections(url) <= number
            limit(-1)

        # At the first time none is left, then one, then two.
        survive(url, tours, take_all, times=3, through=with_options(url, f"user={name}"))


@pytest.mark.skipif(VARIABLE in os.environ, reason="the server has no disk of ours")
@sizes
def test_the_disk_of_the_tables_is_full_for_a_while(tours: int, caplog: pytest.LogCaptureFixture) -> None:
    server = started_server()
    try:
        with small_file_system(64) as folder:
            inside = folder / "tables"
            inside.mkdir()
            owner = os.stat(server.pgdata)
            os.chown(inside, owner.st_uid, owner.st_gid)
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute(f"CREATE TABLESPACE small LOCATION '{inside}'".encode())
                connection.execute("ALTER DATABASE postgres SET default_tablespace = 'small'")

            def fill_up(number: int) -> None:
                filler = fill(folder)
                time.sleep(HOLDS)
                filler.unlink()

            for url in ledgered(server.get_uri()):
                survive(url, tours, fill_up, times=2)
            server.stop()
    finally:
        server.cleanup()
    assert "the server's disk is full" in caplog.text


@pytest.mark.skipif(VARIABLE in os.environ, reason="the server has no disk of ours")
@sizes
def test_the_disk_of_the_server_is_full_and_it_crashes(tours: int) -> None:
    """A server that cannot write its own log gives up. Somebody makes room, and starts it again."""
    with small_file_system(256) as folder:
        server = started_server(folder)

        def fill_up(number: int) -> None:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                filler = fill(folder)
                with pytest.raises(psycopg.Error):
                    write_until_it_fails(connection)
            time.sleep(HOLDS)
            filler.unlink()
            end_server(server)
            server.ensure_postgres_running()

        try:
            for url in ledgered(server.get_uri()):
                survive(url, tours, fill_up, times=2)
        finally:
            server.cleanup()


def write_until_it_fails(connection: psycopg.Connection[Any]) -> None:
    """Begin one file of the server's log after the other."""
    for _ in range(1000):
        connection.execute("SELECT pg_switch_wal()")
        connection.execute("SELECT pg_current_xact_id()")


def end_server(server: Any) -> None:
    """End what is left of a server that has crashed: it may have ended itself, and may wait for nothing for ever."""
    until = time.monotonic() + 10
    while server.get_postmaster_info().is_running():
        with suppress(ProcessLookupError):
            os.kill(server.get_pid(), signal.SIGQUIT if time.monotonic() < until else signal.SIGKILL)
        time.sleep(0.1)
