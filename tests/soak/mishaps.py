"""Mishaps: what happens to the workers and to their database while they work. Each says in the ledger what it did."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any, Final

import psycopg

from tests.proxies import Proxy
from tests.soak.ledger import Ledger
from tests.soak.town import LEASE

ROOT: Final = Path(__file__).parents[2]
ENDS_WITHIN: Final = 60
"""Seconds after which a worker that was told to end is in the way."""


class Workers:
    """Worker processes, of which there are always so many."""

    def __init__(self, url: str, folder: Path, ledger: Ledger, number: int) -> None:
        self._url = url
        self._folder = folder
        self._ledger = ledger
        self._begun = 0
        self.living = [self._begin() for _ in range(number)]
        self.wrong: list[str] = []
        """What was not as it should be with those that were told to end."""

    def _begin(self) -> subprocess.Popen[bytes]:
        self._begun += 1
        with open(self._folder / f"worker-{self._begun}", "wb") as told:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.soak.town", self._url, str(self._folder)],
                stdout=told,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )

    def kill(self, random: Random) -> None:
        """A worker is killed, and another takes its place"""
        place = random.randrange(len(self.living))
        process = self.living[place]
        self._ledger.write("gone", process.pid)
        process.kill()
        process.wait()
        self.living[place] = self._begin()

    def stop(self, random: Random) -> None:
        """A worker stands still for longer than its lease, and goes on"""
        process = random.choice(self.living)
        self._ledger.write("gone", process.pid)
        process.send_signal(signal.SIGSTOP)
        time.sleep(LEASE * 2)
        process.send_signal(signal.SIGCONT)
        time.sleep(1)
        self._ledger.write("back", process.pid)

    def replace(self, random: Random) -> None:
        """A worker is told to end, as by a deployment, and another takes its place"""
        place = random.randrange(len(self.living))
        self._end(self.living[place])
        self.living[place] = self._begin()

    def end(self) -> None:
        """Tell all to end."""
        for process in self.living:
            self._end(process)

    def close(self) -> None:
        """End all at once, whatever they do."""
        for process in self.living:
            process.kill()
            process.wait()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=ENDS_WITHIN)
        if code not in (0, -signal.SIGTERM):  # one that has just begun does not listen yet
            self.wrong.append(f"process {process.pid} was told to end, and ended with {code}")

    def resources(self) -> str:
        """Say what the living hold."""
        held = [
            (_threads(one.pid), len(os.listdir(f"/proc/{one.pid}/fd")), _resident(one.pid))
            for one in self.living
            if Path(f"/proc/{one.pid}/fd").exists()
        ]
        threads, files, memory = (max(column) for column in zip(*held, strict=True))
        return f"{threads} threads, {files} files, {memory} MB"


def _threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000


Mishap = Callable[[], None]


class PostgresMishaps:
    """What happens to a server."""

    def __init__(self, server: Any, proxy: Proxy) -> None:
        self._server = server
        self._proxy = proxy

    def all(self) -> Sequence[Mishap]:
        """Give all of them."""
        return [self.restart, self.crash, self.shoot, self.lose_answers, self.idle, self.read_for_long]

    def restart(self) -> None:
        """The server is stopped, and started again"""
        self._restart(signal.SIGINT)

    def crash(self) -> None:
        """The server is stopped without farewell, and recovers"""
        self._restart(signal.SIGQUIT)

    def _restart(self, how: signal.Signals) -> None:
        os.kill(self._server.get_pid(), how)
        while self._server.get_postmaster_info().is_running():
            time.sleep(0.01)
        self._server.ensure_postgres_running()

    def shoot(self) -> None:
        """All connections of the workers are ended"""
        with self._administrator() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'everlog %'"
            )

    def lose_answers(self) -> None:
        """The answer to a commit is lost, ten times"""
        for _ in range(10):
            self._proxy.lose = "answer"
            time.sleep(0.2)

    def idle(self) -> None:
        """One idles in a transaction that has locked the rows of running workflows"""
        with self._administrator() as connection, suppress(psycopg.Error), connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '1s'")
            connection.execute("SELECT 1 FROM everlog.heads WHERE ended_at IS NULL LIMIT 20 FOR UPDATE")
            time.sleep(3)

    def read_for_long(self) -> None:
        """One reads for long, in a transaction that sees one moment"""
        with self._administrator() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT count(*) FROM everlog.events")
            time.sleep(3)

    def _administrator(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._server.get_uri(), autocommit=True)


class SqliteMishaps:
    """What happens to a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def all(self) -> Sequence[Mishap]:
        """Give all of them."""
        return [self.lock, self.read_for_long, self.checkpoint]

    def lock(self) -> None:
        """Another process holds the write lock"""
        with closing(self.connected()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(3)
            connection.execute("ROLLBACK")

    def read_for_long(self) -> None:
        """Another process reads for long, so that the write-ahead log grows"""
        with closing(self.connected()) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM events").fetchall()
            time.sleep(5)
            connection.execute("ROLLBACK")

    def checkpoint(self) -> None:
        """Another process empties the write-ahead log"""
        with closing(self.connected()) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def connected(self) -> sqlite3.Connection:
        """Connect as somebody else would."""
        return sqlite3.connect(self._path, isolation_level=None, timeout=30)
