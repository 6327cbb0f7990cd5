"""A pool of connections in front of the tests' server: a real PgBouncer that pools transactions. Skips without one."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.postgres import server_url

needs_pool = pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="no pgbouncer is installed")

_SETTINGS = """
[databases]
{database} = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
# Every transaction goes to another connection of the server than the one before, as long as there are any.
server_round_robin = 1
default_pool_size = {connections}
max_client_conn = 1000
"""
_CONNECTIONS = 4
_RUN = 'pgbouncer "$1" & read -r line; kill $!; wait'
"""Ends the pool however this process ends: its input does."""


@cache
def pool_url(mode: str = "transaction") -> str:
    """Start a pool that ends with this process, and give its URL."""
    given = conninfo_to_dict(server_url())
    host, user = str(given["host"]), str(given.get("user") or "")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="everlog-pool-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = " ".join(
        f"{key}={given[key]}" for key in ("host", "port", "dbname", "user", "password") if given.get(key) is not None
    )
    database = str(given["dbname"])
    text = _SETTINGS.format(database=database, server=server, port=port, mode=mode, connections=_CONNECTIONS)
    settings = folder / "pgbouncer.ini"
    settings.write_text(text)
    # It refuses to be run by root; and who runs it must reach the socket of the server.
    owner = os.stat(host if host.startswith("/") else folder)
    runs_as = {} if os.geteuid() != 0 else {"user": owner.st_uid or 65534, "group": owner.st_gid or 65534}
    if runs_as:
        os.chown(folder, runs_as["user"], runs_as["group"])
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", _RUN, "sh", str(settings)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **runs_as,
        )
    atexit.register(process.communicate)
    url = f"postgresql://{quote(user)}@127.0.0.1:{port}/{database}"
    until = time.monotonic() + 20
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"pgbouncer does not answer: {(folder / 'log').read_text()}")
        time.sleep(0.05)
    _use_all(url)
    return url


def _answers(url: str) -> bool:
    with suppress(psycopg.OperationalError), psycopg.connect(url):
        return True
    return False


def _use_all(url: str) -> None:
    """Have the pool make all its connections, which it does when so many transactions are open at once."""
    with ExitStack() as stack:
        for _ in range(_CONNECTIONS):
            stack.enter_context(psycopg.connect(url)).execute("SELECT 1")
