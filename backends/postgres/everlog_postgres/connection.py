"""One connection to the server: opening, settings, round trips, and opening anew after it was lost. It knows no table.

It is made when it is first needed and made again after every kind of loss: a restart, a failover, an administrator
who ended it, a network that went away. What is only read is then read again; what was being written is reported, with
`unknown_outcome` where the answer was lost.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeVar

import psycopg

from everlog.errors import EverlogError, InternalError, SchemaMismatch, StoreUnavailable
from everlog_postgres import arrays
from everlog_postgres.driver_errors import is_worth_repeating, translate
from everlog_postgres.prepared import PreparedStatement
from everlog_postgres.urls import Target

Driver = psycopg.Connection[tuple[Any, ...]]
Rows = list[tuple[Any, ...]]
Durability = Literal["full", "process"]
Result = TypeVar("Result")

OLDEST_SERVER: Final = 140000
TRIES: Final = 5
"""So often a statement is sent that collided with another transaction and of which nothing was written."""

_SETTINGS: Final = {
    # Every statement of ours is written for it: each sees what was committed when it began.
    "default_transaction_isolation": "read committed",
    # Nobody is waited for long. Only one who creates the same workflow, or sends the same message, is waited for.
    "lock_timeout": "500ms",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
}

_PLANNING: Final = {
    # Tables are only ever looked into through their indexes, row by row of a batch, and a statement is planned once:
    # a plan that was made while the tables were small is as good when they are large.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}

_DISTRIBUTED: Final = {
    # What is set in a transaction of ours holds on the servers that it reaches.
    "citus.propagate_set_commands": "local",
    # One connection to each of them. A second one would be a second transaction to prepare and to commit.
    "citus.max_adaptive_executor_pool_size": "1",
}

_NETWORK: Final = {
    "connect_timeout": 10,
    # A peer that vanished without a word is noticed within half a minute, not after two hours.
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}

_ABOUT: Final = b"""SELECT
    current_setting('server_version_num')::integer,
    current_setting('server_encoding'),
    pg_backend_pid()"""

# What the user asks for in the URL counts more.
_SET: Final = b"""SELECT set_config(given.name, given.value, false)
FROM unnest(%s::text[], %s::text[]) AS given (name, value)
WHERE given.name NOT IN (SELECT pg_settings.name FROM pg_catalog.pg_settings WHERE pg_settings.source = 'client')"""

_SET_IN_TRANSACTION: Final = b"""SELECT
    set_config('synchronous_commit', %s, true),
    set_config('lock_timeout', '500ms', true),
    set_config('jit', 'off', true)"""

_PROMISES: Final = b"""SELECT
    current_setting('default_transaction_isolation'),
    current_setting('synchronous_commit')"""


class Question(NamedTuple):
    """A statement and its parameters; `prepared` is the same statement, for when it is asked alone and often."""

    sql: bytes
    parameters: Mapping[str, object] = {}
    prepared: PreparedStatement | None = None


class Ask(Protocol):
    """Runs statements in one round trip of a transaction, and gives the rows of each."""

    def __call__(self, *questions: Question) -> list[Rows]:
        """Give the rows."""
        ...


Asking = Generator[Question, Rows, Result]
"""What asks one question after the other and is given the rows of each, on whatever connection."""


def answered(asking: Asking[Result], ask: Ask) -> Result:
    """Answer what is asked, and give what comes of it."""
    try:
        question = next(asking)
        while True:
            question = asking.send(ask(question)[0])
    except StopIteration as end:
        result: Result = end.value
        return result


Work = Callable[[Ask], tuple[Result, bool]]
"""What is done in a transaction: gives its result, and whether others may wait for something that it wrote."""


class Connection:
    """A connection that threads may share, one at a time. It is not made before it is needed.

    `purpose` shows in the server's list of connections. With durability "process" what is written reaches the disk a
    little later. One that `listens` may be spoken to unasked.
    """

    def __init__(self, target: Target, *, purpose: str, durability: Durability, listens: bool = False) -> None:
        self.target = target
        self.name = target.name
        self.lock = threading.RLock()
        self.on_connect: Callable[[], None] = lambda: None
        """Called after it was made, or made anew."""
        self.distributed = False
        """Whether the tables lie on several servers; a change of it is for connections that are made from then on."""
        self._purpose = purpose
        self._durability: Durability = durability
        self._listens = listens
        self._process = os.getpid()
        self._closed = False
        self._driver: Driver | None = None
        self._prepared: set[bytes] = set()
        self.is_pooled = False
        """Whether each transaction may go to another connection of the server: then nothing is prepared, and what is
        set is set for one transaction. As it was found when the connection was made."""
        self._synchronous = "on"

    def ask(self, *questions: Question) -> list[Rows]:
        """Run statements that only read, in one round trip; give the rows of each. Asks again if it was lost."""
        with self.lock:
            try:
                return self._run(questions, writes=False)
            except _Lost:
                with suppress(_Lost):
                    return self._run(questions, writes=False)
                raise StoreUnavailable(f"{self.name}: the connection was lost twice in a row; try again") from None

    def write(self, *questions: Question) -> list[Rows]:
        """Run statements in one round trip and one transaction; give the rows of each.

        Raises `StoreUnavailable` with `unknown_outcome` where the connection was lost meanwhile.
        """
        with self.lock:
            return self._run(questions, writes=True)

    def writes_or_is_locked(self, *questions: Question) -> list[Rows] | None:
        """Do what `write` does; None, and nothing written, where another transaction's lock was in the way too long."""
        return _unless_locked(lambda: self.write(*questions))

    def transacts_or_is_locked(self, work: Work[Result], *, patience: float, note: bytes) -> Result | None:
        """Run `work` in one transaction of several round trips, and again from the start where it collided.

        None, and nothing written, where another transaction's lock was in the way for `patience` seconds. Raises what
        `write` does. `note` is run where there is something to be noted, after the transaction.
        """
        with self.lock:
            return _unless_locked(
                lambda: self._attempt(lambda driver: self._transact(driver, work, patience, note), writes=True)
            )

    def _transact(self, driver: Driver, work: Work[Result], patience: float, note: bytes) -> Result:
        # What stands before Citus's own settings is for this server only, as what is set for a whole connection.
        settings = {"synchronous_commit": self._synchronous} if self.is_pooled else {}
        settings |= {**(_DISTRIBUTED if self.distributed else {}), "lock_timeout": f"{round(1000 * patience)}ms"}
        begin = ["BEGIN", *(f"SET LOCAL {key} = '{value}'" for key, value in settings.items())]
        driver.execute("; ".join(begin).encode())
        try:
            result, has_news = work(lambda *questions: self._send_all(driver, questions))
            # The note is not in the transaction: that becomes visible on one server after the other, and who sees the
            # note is to see all of it. It is in the same message, so that only the server could lose it, and with
            # itself the connection of everybody who waits.
            end = b"COMMIT; " + note if has_news else b"COMMIT"
        except psycopg.Error:
            if not driver.closed:
                self._roll_back(driver)
            raise
        try:
            driver.execute(end)
        except psycopg.Error as error:
            raise translate(error, self.name, lost_write=True) from error
        return result

    def _roll_back(self, driver: Driver) -> None:
        """Undo a transaction. The driver lets go of all that is prepared then, also of what is ours; so do we."""
        driver.execute(b"ROLLBACK" if self.is_pooled else b"ROLLBACK; DEALLOCATE ALL")
        self._prepared.clear()

    def _run(self, questions: Sequence[Question], *, writes: bool) -> list[Rows]:
        return self._attempt(lambda driver: self._send(driver, questions), writes=writes)

    def _attempt(self, work: Callable[[Driver], Result], *, writes: bool) -> Result:
        for last in (False,) * (TRIES - 1) + (True,):
            driver = self.driver()
            try:
                return work(driver)
            except psycopg.Error as error:
                if driver.closed or _is_libpqs_own(error):
                    self.drop()
                    if not writes:
                        raise _Lost from error
                    raise translate(error, self.name, lost_write=True) from error
                if last or not is_worth_repeating(error):
                    raise translate(error, self.name) from error
            except UnicodeError as error:
                raise InternalError(f"{self.name}: a text to be stored is not valid UTF-8: {error}") from error
            except BaseException:
                # Stopped in the middle, by an interrupt for example: what the server still sends belongs to nobody.
                self.drop()
                raise
        raise InternalError(f"{self.name}: a statement was neither done nor refused")

    def _send(self, driver: Driver, questions: Sequence[Question]) -> list[Rows]:
        if self.is_pooled:
            with driver.pipeline():
                driver.execute(_SET_IN_TRANSACTION, (self._synchronous,))
                cursors = [driver.execute(sql, parameters) for sql, parameters, _ in questions]
            return [_rows(cursor) for cursor in cursors]
        return self._send_all(driver, questions)

    def _send_all(self, driver: Driver, questions: Sequence[Question]) -> list[Rows]:
        """Send statements for which everything is set."""
        prepare = not self.is_pooled
        if len(questions) == 1:
            sql, parameters, prepared = questions[0]
            if prepare and prepared is not None:
                if prepared.name not in self._prepared:
                    prepared.prepare(driver, parameters)
                    self._prepared.add(prepared.name)
                return [prepared.run(driver, parameters)]
            return [_rows(driver.execute(sql, parameters, prepare=prepare))]
        # The server takes all up to the end of the pipeline as one transaction; each statement has its own snapshot.
        with driver.pipeline():
            cursors = [driver.execute(sql, parameters, prepare=prepare) for sql, parameters, _ in questions]
        return [_rows(cursor) for cursor in cursors]

    def driver(self) -> Driver:
        """Give the driver's connection, a new one if there is none or it was lost while nobody looked."""
        self.require_process()
        self.require_open()
        if self._driver is not None and not self._listens and not _is_alive(self._driver):
            self.drop()
        if self._driver is None:
            self._driver = self._connect()
            self._prepared.clear()
            self.on_connect()
        return self._driver

    def _connect(self) -> Driver:
        target = self.target
        given: dict[str, Any] = {key: value for key, value in _NETWORK.items() if key not in target.given}
        if "application_name" not in target.given:
            given["application_name"] = f"everlog {self._purpose}"
        try:
            # No settings are asked for here: a pool refuses those that it does not know.
            driver = psycopg.connect(
                target.conninfo, autocommit=True, prepare_threshold=None, client_encoding="utf8", **given
            )
        except psycopg.Error as error:
            raise translate(error, self.name) from error
        try:
            arrays.register(driver)
            self._find_out_about(driver)
            self._set_up(driver)
        except psycopg.Error as error:
            driver.close()
            raise translate(error, self.name) from error
        except EverlogError:
            driver.close()
            raise
        return driver

    def _find_out_about(self, driver: Driver) -> None:
        version, encoding, process = driver.execute(_ABOUT).fetchone() or (0, "", 0)
        if version < OLDEST_SERVER:
            raise SchemaMismatch(f"{self.name} has version {version // 10000}; Everlog needs Postgres 14 or later")
        if encoding != "UTF8":
            raise SchemaMismatch(f"{self.name} has the encoding {encoding}; create one with ENCODING 'UTF8'")
        # Whoever stands in between and hands out connections of the server must answer for itself when it is asked to
        # cancel something, and so has told us another process than the one that answers.
        is_behind_another = process != driver.info.backend_pid
        self.is_pooled = is_behind_another if self.target.prepare is None else not self.target.prepare

    def _set_up(self, driver: Driver) -> None:
        if not self.is_pooled:
            driver.prepare_threshold = 1_000_000  # prepared is what asks for it, the rest is not worth it
            settings = {**_SETTINGS, **(_DISTRIBUTED if self.distributed else _PLANNING)}
            if self._durability == "process":
                settings["synchronous_commit"] = "off"
            driver.execute(_SET, (list(settings), list(settings.values())))
        isolation, synchronous = driver.execute(_PROMISES).fetchone() or ("", "")
        if isolation != "read committed":
            raise SchemaMismatch(
                f"{self.name}: transactions of this user are {isolation!r} by default, and Everlog's must be"
                " 'read committed': ALTER ROLE ... SET default_transaction_isolation = 'read committed'"
            )
        self._synchronous = synchronous if self._durability == "full" else "off"
        if self._durability == "full" and synchronous == "off":
            self._synchronous = "on"
            if not self.is_pooled:
                driver.execute("SET synchronous_commit = 'on'")

    def require_process(self) -> None:
        """Raise `StoreUnavailable` in a fork of the process that made this object."""
        if self._process != os.getpid():
            raise StoreUnavailable(
                f"{self.name} was opened by process {self._process}, and this is a fork of it, {os.getpid()};"
                " a connection does not survive a fork: open the database in the child"
            )

    def require_open(self) -> None:
        """Raise `StoreUnavailable` if this connection was closed by us."""
        if self._closed:
            raise StoreUnavailable(f"{self.name} was closed by this program; open it again")

    def drop(self) -> None:
        """Let go of the driver's connection; the next call makes another."""
        driver, self._driver = self._driver, None
        if driver is not None:
            with suppress(psycopg.Error):
                driver.close()

    def close(self) -> None:
        """Close for good."""
        if self._process == os.getpid():
            with self.lock:
                self._closed = True
                self.drop()


class _Lost(Exception):
    """The connection was lost while something was read."""


def _unless_locked(work: Callable[[], Result]) -> Result | None:
    try:
        return work()
    except StoreUnavailable as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            return None
        raise


def _rows(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Rows:
    """Give the rows, none of a statement that gives none. `cursor.description` would describe each column first."""
    result = cursor.pgresult
    return cursor.fetchall() if result is not None and result.ntuples else []


def _is_libpqs_own(error: psycopg.Error) -> bool:
    """Say whether the error was made on this side, where the connection is not yet known to be lost."""
    return error.sqlstate is None and error.pgresult is not None


def _is_alive(driver: Driver) -> bool:
    """Say whether the server has kept quiet, as it does between two statements of ours.

    Asked before anything is sent: so a connection that was ended while it was idle, by a restart for example, is made
    anew without any doubt about what became of the next commit. What the server says unasked is mostly its farewell.
    """
    if driver.closed:
        return False
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(driver.fileno(), select.POLLIN)
        return not poll.poll(0)
    return not select.select([driver.fileno()], [], [], 0)[0]
