"""Transactions of steps: the user's SQL and the step's result commit together, in the user's own database.

The result goes into a table there, under a key that only this call of this workflow has. The key is taken first: who
finds it taken takes that result and runs nothing, and who meets another that is still open waits until that has
committed or not. So whatever happens to processes and connections, of one call at most one transaction commits, and
the log, which is written after it, has that result.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from everlog.core.codec import Codec
from everlog.errors import InternalError, StepInterrupted, StoreUnavailable, UsageError
from everlog.replay.attempts import Attempt
from everlog.replay.context import transaction as transaction_variable
from everlog.replay.definitions import AnyStep
from everlog.runtime.borrowed import Borrowed, Rows, borrowed
from everlog.store import Store
from everlog.store_transactions import SupportsTransactions

if TYPE_CHECKING:
    from everlog.runtime.outbox import Outbox

TABLE: Final = "everlog_results"
MOST_CONFLICTS: Final = 10
"""So often a transaction is begun anew that the database gave up for the sake of others."""

_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 2.0

_PROBE: Final = f"SELECT 1 FROM {TABLE} WHERE 1 = 0"
_CREATE: Final = f"""CREATE TABLE IF NOT EXISTS {TABLE} (
    workflow_id TEXT NOT NULL,
    life TEXT NOT NULL,
    operation TEXT NOT NULL,
    result TEXT,
    recorded_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (workflow_id, life, operation)
)"""
_TAKE: Final = f"""INSERT INTO {TABLE} (workflow_id, life, operation)
VALUES (:workflow_id, :life, :operation)
ON CONFLICT (workflow_id, life, operation) DO NOTHING
RETURNING {{transaction}}"""
_FIND: Final = f"""SELECT result FROM {TABLE}
WHERE workflow_id = :workflow_id AND life = :life AND operation = :operation"""
_KEEP: Final = f"""UPDATE {TABLE} SET result = :result
WHERE workflow_id = :workflow_id AND life = :life AND operation = :operation AND result IS NULL
RETURNING {{transaction}}"""

_TRANSACTION: Final = {"postgresql": "txid_current()", "sqlite": "1"}
"""What tells one transaction from the next. SQLite has nothing of the kind, so there a savepoint has to last."""
_SAVEPOINT: Final = {"sqlite": "SAVEPOINT everlog_step"}
_RELEASE: Final = {"sqlite": "RELEASE everlog_step"}

_CONFLICTS: Final = ("40001", "40P01")
"""What Postgres says of transactions that it ended so that others can go on."""
_REFUSALS: Final = ("40", "23", "25", "44")
"""Classes of what Postgres says of a commit that certainly did not happen."""


class _Unknown(Exception):
    """A commit was not answered: it may have happened."""


class Transactions:
    """Runs the bodies of steps that have `transaction=`, for one engine."""

    def __init__(
        self, store: Store, codec: Codec, wait: Callable[[float], None], using: Callable[[object], Outbox]
    ) -> None:
        self._store = store
        self._codec = codec
        self._wait = wait
        self._using = using
        self._ready: set[object] = set()
        """The sources in whose databases there is the table."""

    async def run(self, call: Call, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run the body of an async step, or give what it gave before."""
        tries = _Tries(call)
        while True:
            try:
                await self._prepare(call.step)
                return await self._once(call, tries, function, args, kwargs)
            except Exception as error:  # noqa: BLE001 - whatever the driver raises
                await asyncio.sleep(tries.pause_after(error))

    def run_blocking(self, call: Call, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run the body of a plain step, or give what it gave before."""
        tries = _Tries(call)
        while True:
            try:
                self._prepare_blocking(call.step)
                return self._once_blocking(call, tries, function, args, kwargs)
            except Exception as error:  # noqa: BLE001 - whatever the driver raises
                self._wait(tries.pause_after(error))

    # -- one try -----------------------------------------------------------------------------------------------------

    async def _once(self, call: Call, tries: _Tries, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        ending = False
        try:
            async with await self._opened(call.step) as connection:
                at = _on(connection, call.step)
                taken = await _rows(at.execute(_in(at, _TAKE), call.key))
                if not taken:
                    return self._found(call, await _rows(at.execute(_FIND, call.key)))
                tries.is_unknown = False  # who has the key knows that nothing was committed
                _require_transaction(at, call.step)
                if at.dialect in _SAVEPOINT:
                    await _rows(at.execute(_SAVEPOINT[at.dialect], {}))
                if call.step.transaction is True:  # nothing else could be written while SQLite's write lock is held
                    call.attempt.within = self._using(connection)
                    call.attempt.post = call.attempt.within.send
                with _within(connection):
                    result = await function(*args, **kwargs)
                with _same_transaction(call.step):
                    if at.dialect in _RELEASE:
                        await _rows(at.execute(_RELEASE[at.dialect], {}))
                _require_same(taken, await _rows(at.execute(_in(at, _KEEP), self._kept(call, result))), call.step)
                ending = True
        except (Exception, asyncio.CancelledError) as error:
            if ending and not _is_refusal(error):
                raise _Unknown from error
            raise
        return result

    def _once_blocking(self, call: Call, tries: _Tries, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        ending = False
        try:
            with self._opened_blocking(call.step) as connection:
                at = _on(connection, call.step, blocking=True)
                taken = _at_once(at.execute(_in(at, _TAKE), call.key))
                if not taken:
                    return self._found(call, _at_once(at.execute(_FIND, call.key)))
                tries.is_unknown = False  # who has the key knows that nothing was committed
                _require_transaction(at, call.step)
                if at.dialect in _SAVEPOINT:
                    at.execute(_SAVEPOINT[at.dialect], {})
                with _within(connection):
                    result = function(*args, **kwargs)
                with _same_transaction(call.step):
                    if at.dialect in _RELEASE:
                        at.execute(_RELEASE[at.dialect], {})
                _require_same(taken, _at_once(at.execute(_in(at, _KEEP), self._kept(call, result))), call.step)
                if call.attempt.cancelled:  # nobody waits for it any more, and so it has not happened
                    raise StepInterrupted(f"step {call.step.name!r} was cancelled before its transaction committed")
                ending = True
        except Exception as error:
            if ending and not _is_refusal(error):
                raise _Unknown from error
            raise
        return result

    def _kept(self, call: Call, result: object) -> dict[str, object]:
        what = f"result of step {call.step.name}"
        encoded = self._codec.encode(result, call.step.signature.result_type, what=what)
        return {**call.key, "result": encoded.decode()}

    def _found(self, call: Call, rows: Rows) -> object:
        if not rows or rows[0][0] is None:
            raise UsageError(
                f"table {TABLE} has no result of step {call.step.name!r} ({call.attempt.identity}) of workflow"
                f" {call.attempt.workflow_id!r}, though a transaction of it has committed: the step ended its"
                " transaction by itself. Look what became of it, delete the row, and leave the commit to the engine"
            )
        what = f"result of step {call.step.name} in table {TABLE}"
        return self._codec.decode(rows[0][0].encode(), call.step.signature.result_type, what=what)

    # -- where to ----------------------------------------------------------------------------------------------------

    async def _prepare(self, step: AnyStep[..., Any]) -> None:
        if step.transaction in self._ready:
            return
        try:
            await self._alone(step, _PROBE)
        except Exception as error:
            if not _lacks_table(error):
                raise
            try:
                await self._alone(step, _CREATE)
            except Exception as refused:  # noqa: BLE001 - whatever the driver raises, also where another was faster
                with _saying(refused):
                    await self._alone(step, _PROBE)
        self._ready.add(step.transaction)

    def _prepare_blocking(self, step: AnyStep[..., Any]) -> None:
        if step.transaction in self._ready:
            return
        try:
            self._alone_blocking(step, _PROBE)
        except Exception as error:
            if not _lacks_table(error):
                raise
            try:
                self._alone_blocking(step, _CREATE)
            except Exception as refused:  # noqa: BLE001 - whatever the driver raises, also where another was faster
                with _saying(refused):
                    self._alone_blocking(step, _PROBE)
        self._ready.add(step.transaction)

    async def _alone(self, step: AnyStep[..., Any], sql: str) -> None:
        async with await self._opened(step) as connection:
            await _rows(_on(connection, step).execute(sql, {}))

    def _alone_blocking(self, step: AnyStep[..., Any], sql: str) -> None:
        with self._opened_blocking(step) as connection:
            _on(connection, step, blocking=True).execute(sql, {})

    async def _opened(self, step: AnyStep[..., Any]) -> AbstractAsyncContextManager[Any]:
        opened: Any = self._own().async_transaction() if step.transaction is True else step.transaction()
        if inspect.isawaitable(opened):
            opened = await opened
        if hasattr(opened, "__aenter__"):
            found: AbstractAsyncContextManager[Any] = opened
            return found
        return _Awaited(_checked(opened, step))

    def _opened_blocking(self, step: AnyStep[..., Any]) -> AbstractContextManager[Any]:
        opened: Any = self._own().transaction() if step.transaction is True else step.transaction()
        return _checked(opened, step)

    def _own(self) -> SupportsTransactions:
        if not isinstance(self._store, SupportsTransactions):
            raise UsageError(
                "transaction=True is a transaction in the engine's own database, and this engine has none in which"
                " tables of yours could be; use a URL of SQLite or Postgres, or give transaction= what opens a"
                " transaction"
            )
        return self._store


class Call(Struct, frozen=True):
    """One call of a step: its attempt, and the key under which its result is kept."""

    step: AnyStep[..., Any]
    attempt: Attempt
    life: str
    """Which life of which workflow of that id it is: the same id may come again."""
    unsure: bool
    """Whether an earlier try of it may have committed, of which nobody here has heard."""

    @property
    def key(self) -> dict[str, object]:
        """Give the parameters that name it."""
        return {
            "workflow_id": self.attempt.workflow_id,
            "life": self.life,
            "operation": self.attempt.identity,
        }


class _Tries:
    """What follows a try that failed: another, or the failure of the attempt."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._conflicts = 0
        self.is_unknown = call.unsure
        """Whether a transaction of this call may have committed."""
        self._pause = _FIRST_PAUSE

    def pause_after(self, error: Exception) -> float:
        """Give how long to wait before the next try, in seconds; raise the error where none follows.

        After a commit that was not answered nothing is told before it is known, so the database is waited for.
        """
        if isinstance(error, _Unknown):
            self.is_unknown = True
        elif _is_conflict(error):
            self._conflicts += 1
            if self._conflicts >= MOST_CONFLICTS:
                raise error
        elif not (self.is_unknown and _is_lost(error)):
            raise error
        if self._call.attempt.cancelled:  # nobody waits for what becomes of it
            raise error
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return self._pause


class _Awaited:
    """A blocking context manager where one for asyncio is expected: it holds up the loop, as the user wants it."""

    def __init__(self, blocking: AbstractContextManager[Any]) -> None:
        self._blocking = blocking

    async def __aenter__(self) -> Any:
        return self._blocking.__enter__()

    async def __aexit__(self, *error: Any) -> bool | None:
        return self._blocking.__exit__(*error)


def _checked(opened: Any, step: AnyStep[..., Any]) -> AbstractContextManager[Any]:
    if hasattr(opened, "__enter__"):
        found: AbstractContextManager[Any] = opened
        return found
    if inspect.iscoroutine(opened):
        opened.close()
    what = "one for asyncio, and the step is a plain def" if hasattr(opened, "__aenter__") else repr(opened)
    raise UsageError(
        f"transaction= of step {step.name} gives no context manager that opens a transaction, but {what}; give it what"
        " does, such as sessions.begin of SQLAlchemy, or pool.connection of psycopg_pool"
    )


def _on(connection: object, step: AnyStep[..., Any], *, blocking: bool = False) -> Borrowed:
    at = borrowed(connection)
    if at.dialect not in _TRANSACTION:
        raise UsageError(
            f"transaction= of step {step.name} gives a connection to {at.dialect}, and results are kept in SQLite or"
            " Postgres; name one of those"
        )
    if blocking and not at.is_blocking:
        raise UsageError(
            f"transaction= of step {step.name} gives a connection for asyncio, and the step is a plain def; write async"
            " def, or give it a blocking one"
        )
    return at


def _require_transaction(at: Borrowed, step: AnyStep[..., Any]) -> None:
    if not at.is_in_transaction():
        raise UsageError(
            f"transaction= of step {step.name} gives a connection that commits each statement by itself; give it one"
            " with a transaction open, which is committed at the end of the block"
        )


def _in(at: Borrowed, sql: str) -> str:
    return sql.format(transaction=_TRANSACTION[at.dialect])


def _require_same(taken: Rows, kept: Rows, step: AnyStep[..., Any]) -> None:
    if taken != kept:
        raise UsageError(_ended_by_itself(step))


@contextmanager
def _same_transaction(step: AnyStep[..., Any]) -> Generator[None]:
    try:
        yield
    except Exception as error:
        if any("no such savepoint" in str(one) for one in _causes(error)):
            raise UsageError(_ended_by_itself(step)) from error
        raise


def _ended_by_itself(step: AnyStep[..., Any]) -> str:
    return (
        f"step {step.name} ended its transaction by itself, so that its result cannot commit with it; leave commit and"
        " rollback to the engine, and use a savepoint for what may fail"
    )


@contextmanager
def _within(connection: object) -> Generator[None]:
    before = transaction_variable.set(connection)
    try:
        yield
    finally:
        transaction_variable.reset(before)


@contextmanager
def _saying(error: Exception) -> Generator[None]:
    """Raise this error for any that is raised inside."""
    try:
        yield
    except Exception:  # noqa: BLE001 - it follows from the other
        raise error from None


async def _rows(given: Rows | Awaitable[Rows]) -> Rows:
    return given if isinstance(given, list) else await given


def _at_once(given: Rows | Awaitable[Rows]) -> Rows:
    if not isinstance(given, list):
        raise InternalError("a blocking connection was to be waited for")
    return given


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error with what it was made of: SQLAlchemy and our stores wrap those of the driver."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = getattr(seen, "orig", None) or seen.__cause__


def _state(error: BaseException) -> str | None:
    return next((state for one in _causes(error) if isinstance(state := getattr(one, "sqlstate", None), str)), None)


def _code(error: BaseException) -> int | None:
    """Give the primary code of SQLite."""
    codes = (getattr(one, "sqlite_errorcode", None) for one in _causes(error))
    return next((code & 0xFF for code in codes if isinstance(code, int)), None)


def _is_conflict(error: BaseException) -> bool:
    return _state(error) in _CONFLICTS or _code(error) in (5, 6)  # SQLITE_BUSY, SQLITE_LOCKED


def _is_refusal(error: BaseException) -> bool:
    """Say whether a commit that failed so certainly did not happen."""
    state = _state(error)
    return (state is not None and state[:2] in _REFUSALS) or _code(error) in (5, 6, 13, 19)  # FULL, CONSTRAINT


def _is_lost(error: BaseException) -> bool:
    """Say whether the database could not be reached."""
    state = _state(error)
    if state is not None:
        return state[:2] in ("08", "53", "57", "58")
    return any(
        isinstance(one, (OSError, StoreUnavailable)) or type(one).__name__ in ("OperationalError", "InterfaceError")
        for one in _causes(error)
    )


def _lacks_table(error: BaseException) -> bool:
    return _state(error) == "42P01" or any("no such table" in str(one) for one in _causes(error))
