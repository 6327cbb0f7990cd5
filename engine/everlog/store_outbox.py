"""The part of the port for writing within a transaction of the user's, which a store may support: `SupportsOutbox`.

What is created and posted so is there if and only if the user commits. It is written by the same statements as always,
on the user's connection instead of the store's. No commits of workflows are: those lock heads, and nobody knows for
how long the user's transaction stays open. A creation and a post lock nothing that is there already.

The methods are coroutines, since the connection may be one for asyncio. On a blocking connection they never wait for an
event loop, so that blocking code runs them by `at_once`. Nothing here waits for the store's own connections: on a
database that one connection at a time may write to, these may just be waiting for the user.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from everlog.core.queues import QueueRow
from everlog.errors import InternalError
from everlog.store import Batch, BatchOutcome, EventRow

T = TypeVar("T")


class OpenTransaction(Protocol):
    """Writes and reads within whatever transaction is open on one connection of the user's, when it is called.

    Each method raises `UsageError` where none is open, or the connection is to another database, and `StoreUnavailable`
    with the driver's error as its cause; then nothing of the call was written.
    """

    is_blocking: bool
    """Whether no method ever waits for an event loop."""

    async def write(self, batch: Batch) -> BatchOutcome:
        """Write creations and posts of a batch without commits. `Done` means: if and when the user commits."""
        ...

    async def read(self, workflow_id: str, *, limit: int | None = None) -> Sequence[EventRow]:
        """Give the events of a workflow in order, as this transaction sees them; empty for an unknown id."""
        ...

    async def queues(self) -> Sequence[QueueRow]:
        """Give all queues, as this transaction sees them; none where the store has none."""
        ...


@runtime_checkable
class SupportsOutbox(Protocol):
    """A store that can write within a transaction of the user's; asked for with `isinstance`."""

    def within(self, connection: object) -> OpenTransaction:
        """Give what writes on a connection of the user's; called from any thread, and asks nothing.

        The connection is one of the driver's own, or an object that has such a one (see `driver_connection`). Raises
        `UsageError` where it is neither.
        """
        ...


_DEEPEST: Final = 5


def driver_connection(given: object, is_ours: Callable[[object], bool]) -> Any:
    """Give the driver's own connection that an object is, or has; None where there is none.

    SQLAlchemy's connections and sessions, and the connections of Django, have it as `driver_connection`, or below what
    they call `connection`, which of a session is a method.
    """
    found: Any = given
    for _ in range(_DEEPEST):
        if is_ours(found):
            return found
        below = getattr(found, "driver_connection", None) or getattr(found, "connection", None)
        found = below() if callable(below) and not is_ours(below) else below
        if isinstance(found, Coroutine):
            found.close()  # a session for asyncio would have to be waited for here
            return None
    return None


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Give what a coroutine gives that never waits; `InternalError` where it would."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    coroutine.close()
    raise InternalError("a blocking connection was to be waited for on an event loop")


def only_from_outside(batch: Batch) -> None:
    """Refuse a batch with commits of workflows."""
    if batch.commits:
        raise InternalError("commits of workflows do not belong into a transaction of the user's; write them by commit")
