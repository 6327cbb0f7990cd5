"""Writing within a transaction of the user's, on the user's own connection. It never ends that transaction.

A creation and a post insert rows, and lock none that is there: so the workflows that they concern go on committing
however long the transaction stays open. Only who creates the same workflow, or sends the same key, waits for its end.
Nobody is told of it here: NOTIFY would take a lock of the whole database until the user's commit is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from everlog.errors import InternalError, StoreUnavailable, UsageError
from everlog.store import Batch, BatchOutcome, CreateOutcome, Done, EventRow, Exists, PostOutcome, QueueRow, check_batch
from everlog.store_outbox import driver_connection, only_from_outside
from everlog_postgres import arrays, queue_records, records
from everlog_postgres.arrays import texts
from everlog_postgres.commits import Commits
from everlog_postgres.connection import TRIES, Asking, Connection, Question, Result, Rows
from everlog_postgres.deduplicating import in_order
from everlog_postgres.driver_errors import is_taken, translate
from everlog_postgres.records import Outcomes
from everlog_postgres.segments import Segment, segments
from everlog_postgres.statements import Statements

UserConnection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]

_SAVEPOINT: Final = b"SAVEPOINT everlog"
_RELEASE: Final = b"RELEASE SAVEPOINT everlog"
_UNDO: Final = b"ROLLBACK TO SAVEPOINT everlog; RELEASE SAVEPOINT everlog"


class Database(NamedTuple):
    """What tells one database from all others: when its server started, and two ids; `heads` is None if it has none."""

    started_at: int
    database: int
    heads: int | None


class Home:
    """The database of a store, asked for through a connection of its own."""

    def __init__(self, connection: Connection, sql: Statements) -> None:
        self._connection: Final = connection
        self._sql: Final = sql
        self._known: Database | None = None
        self.name: Final = connection.name
        self.schema: Final = sql.schema

    def is_at(self, found: Database) -> bool:
        """Say whether that is it. It is asked anew where it seems not to be: the server may have been replaced."""
        if found != self._known:
            ((*database, _, _),) = self._connection.ask(Question(self._sql.find_database))[0]
            self._known = Database(*database)
        return found == self._known


class OpenTransaction:
    """What writes on one connection of the user's."""

    def __init__(
        self,
        driver: UserConnection,
        home: Home,
        commits: Commits,
        sql: Statements,
        now: Callable[[], int],
        may_commit: Callable[[str], None],
    ) -> None:
        self.is_blocking: Final = isinstance(driver, psycopg.Connection)
        self._driver: Final = driver
        self._home: Final = home
        self._commits: Final = commits
        self._sql: Final = sql
        self._now: Final = now
        self._may_commit: Final = may_commit
        self._turn: Final = asyncio.Lock()
        """Of those who write at once on a connection for asyncio: the statements of each belong together."""

    async def write(self, batch: Batch) -> BatchOutcome:
        """Write creations and posts."""
        only_from_outside(batch)
        check_batch(batch)
        split = list(segments(batch))
        keyed = any(segment.has_keys() or segment.keys for segment in split)
        async with self._within() as transaction:
            if keyed:
                outcome = await self._repeat(split)
            else:
                outcome = await self._answer(self._writing(split))
        self._may_commit(transaction)
        return outcome

    async def read(self, workflow_id: str, *, limit: int | None = None) -> Sequence[EventRow]:
        """Give the events of a workflow."""
        question = {"workflow_id": workflow_id, "after": 0, "limit": limit}
        async with self._within():
            rows = await self._ask(Question(self._sql.read_history, question))
        return records.history(rows, workflow_id, after=0, of=self._home.name)

    async def queues(self) -> Sequence[QueueRow]:
        """Give all queues."""
        async with self._within():
            return queue_records.queues(await self._ask(Question(self._sql.queues.list_queues)))

    @asynccontextmanager
    async def _within(self) -> AsyncGenerator[str]:
        """Make sure that there is a transaction, and that it is one on our database; give its id."""
        self._require_transaction()
        try:
            if self.is_blocking:
                yield await self._require_our_database()
                return
            async with self._turn:
                yield await self._require_our_database()
        except psycopg.Error as error:
            if is_taken(error):
                raise StoreUnavailable(
                    f"{self._home.name}: another transaction has just taken the id or key of what was to be"
                    " written, and this one, being of a stricter isolation, does not see it; roll back and do it again"
                ) from error
            raise translate(error, self._home.name) from error
        except UnicodeError as error:
            raise InternalError(f"{self._home.name}: a text to be stored is not valid UTF-8: {error}") from error

    def _require_transaction(self) -> None:
        driver = self._driver
        status = driver.info.transaction_status
        if driver.closed or status is TransactionStatus.UNKNOWN:
            raise UsageError("the connection given to using() is closed; open another, and a transaction on it")
        if status is TransactionStatus.INERROR:
            raise UsageError(
                "the transaction of the connection given to using() has failed before, and nothing more can be written"
                " in it; roll it back, and begin another"
            )
        if driver.autocommit and status is TransactionStatus.IDLE:
            raise UsageError(
                "the connection given to using() has no transaction open, so that each statement would be one of its"
                ' own (autocommit); write "with connection.transaction():" around it, or use engine.start, engine.send'
            )
        if driver.info.encoding != "utf-8":
            raise UsageError(
                f"the connection given to using() has the client encoding {driver.info.encoding!r}, and what is"
                " recorded is UTF-8; connect with client_encoding='utf8'"
            )

    async def _require_our_database(self) -> str:
        (row,) = await self._ask(Question(self._sql.find_database))
        started_at, database, heads, reads_only, transaction = row
        found = Database(started_at, database, heads)
        if not self._home.is_at(found):
            raise UsageError(
                "the connection given to using() is one to another database, or to another server, than"
                f" {self._home.name} with the schema {self._home.schema!r}, where this engine keeps its workflows; give"
                " it one to that"
            )
        if reads_only:
            raise UsageError(
                "the transaction of the connection given to using() only reads (READ ONLY), and a start or a message is"
                " written; begin it without that"
            )
        return str(transaction)

    async def _repeat(self, split: Sequence[Segment]) -> BatchOutcome:
        """Write what another may take a key from meanwhile, which is then found by doing it again."""
        for last in (False,) * (TRIES - 1) + (True,):
            await self._execute(_SAVEPOINT)
            try:
                outcome = await self._answer(self._writing(split))
            except psycopg.Error as error:
                if not is_taken(error) or last:
                    raise
                await self._execute(_UNDO)
                continue
            await self._execute(_RELEASE)
            return outcome
        raise InternalError(f"{self._home.name}: a statement was neither done nor refused")

    def _writing(self, split: Sequence[Segment]) -> Asking[BatchOutcome]:
        creates: list[CreateOutcome] = []
        posts: list[PostOutcome] = []
        for segment in split:
            rest, rows, decided = yield from self._commits.keyed(segment, {}, self._now())
            outcomes = Outcomes(rest, rows)
            there = [new.workflow_id for new, done in zip(rest.creates, outcomes.creates, strict=True) if done is None]
            heads: dict[str, Any] = {}
            if there:
                found = yield Question(self._sql.find_heads, {"workflow_ids": texts(there)})
                heads = {head.workflow_id: head for head in map(records.head, found)}
            done = [
                Done() if done is not None else Exists(head=heads[new.workflow_id])
                for new, done in zip(rest.creates, outcomes.creates, strict=True)
            ]
            creates.extend(in_order(decided.creates, done))
            posts.extend(outcomes.posts)
        return BatchOutcome(creates=creates, posts=posts)

    async def _answer(self, asking: Asking[Result]) -> Result:
        try:
            question = next(asking)
            while True:
                question = asking.send(await self._ask(question))
        except StopIteration as end:
            result: Result = end.value
            return result

    async def _ask(self, question: Question) -> Rows:
        """Run one statement, on a cursor of ours: how the user's read and adapt their rows does not matter here."""
        driver = self._driver
        if isinstance(driver, psycopg.Connection):
            cursor = psycopg.Cursor(driver, row_factory=tuple_row)
            arrays.register(cursor)
            return cursor.execute(question.sql, question.parameters).fetchall()
        waiting = psycopg.AsyncCursor(driver, row_factory=tuple_row)
        arrays.register(waiting)
        await waiting.execute(question.sql, question.parameters)
        return await waiting.fetchall()

    async def _execute(self, command: bytes) -> None:
        driver = self._driver
        if isinstance(driver, psycopg.Connection):
            psycopg.Cursor(driver).execute(command)
        else:
            await psycopg.AsyncCursor(driver).execute(command)


def driver_of(connection: object) -> UserConnection:
    """Give the driver's connection of the user's."""
    found = driver_connection(connection, _is_one)
    if found is None:
        raise UsageError(
            "using() takes a Connection or AsyncConnection of psycopg 3, or what has one as SQLAlchemy's sessions do,"
            f" got {connection!r}"
        )
    driver: UserConnection = found
    return driver


def _is_one(given: object) -> bool:
    return isinstance(given, psycopg.Connection | psycopg.AsyncConnection)
