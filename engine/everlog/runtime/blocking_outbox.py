"""Blocking outbox: the async one, run where it is called. On a blocking connection it waits for no event loop."""

from __future__ import annotations

from typing import ParamSpec, TypeVar, final

from everlog.replay.definition import Definition
from everlog.replay.queues import Queue
from everlog.runtime import outbox
from everlog.runtime.blocking_handles import Handle
from everlog.runtime.portal import Portal
from everlog.store_outbox import at_once

P = ParamSpec("P")
T = TypeVar("T")


@final
class Outbox:
    """What `using(connection)` gives: it writes within the transaction that is open on that connection.

    See `everlog.Outbox`. It is used by the thread that calls, as the connection is.
    """

    def __init__(self, portal: Portal, wrapped: outbox.Outbox) -> None:
        self._portal = portal
        self._outbox = wrapped

    def start(self, fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Handle[T]:
        """Start a workflow when you commit, and give its handle, which is good from then on.

        As `Client.start`: with an id it starts once, also together with starts that were committed before.
        `if_duplicate="replace"` is refused: it would hold another workflow until you commit. A queue that is given as
        an object is declared beside your transaction, as soon as the database lets this client.
        """
        return Handle(self._portal, at_once(self._outbox.start(fn, *args, **kwargs)))

    def send(self, to: str, topic: str, message: object, /, *, key: str | None = None) -> None:
        """Send a message to a workflow when you commit; it is received once, those of one `using` in the order sent.

        With a `key`, messages of the same key to the same workflow are one. Raises `NotFound` where there is no such
        workflow, or it has ended; one that ends before you commit does not read it.
        """
        at_once(self._outbox.send(to, topic, message, key=key))

    def queue(self, queue: Queue | str, /) -> OutboxQueue:
        """Give a queue, to enqueue workflows when you commit. It asks nothing."""
        return OutboxQueue(self._portal, self._outbox.queue(queue))


@final
class OutboxQueue:
    """One queue, within a transaction of the user's."""

    def __init__(self, portal: Portal, wrapped: outbox.OutboxQueue) -> None:
        self._portal = portal
        self._queue = wrapped

    def enqueue(self, fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Handle[T]:
        """Put a workflow into this queue when you commit, and give its handle; see `Outbox.start`."""
        return Handle(self._portal, at_once(self._queue.enqueue(fn, *args, **kwargs)))
