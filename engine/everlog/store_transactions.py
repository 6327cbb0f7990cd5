"""The part of the port for steps whose SQL commits with their result: `SupportsTransactions`. A store may support it.

The result of such a step is written by the user's transaction, into a table beside the user's, and never to the log:
the log has one writer. Who holds the workflow then records it as what happened. See `everlog.runtime.transactions`.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class SupportsTransactions(Protocol):
    """A store that lies in a database in which users may have tables of their own; asked for with `isinstance`."""

    def transaction(self) -> AbstractContextManager[Any]:
        """Open a transaction on a connection of the driver's own; commit it at the end of the block, roll it back where
        an exception leaves it. Called from any thread, each time with a connection that nobody else uses."""
        ...

    def async_transaction(self) -> AbstractAsyncContextManager[Any]:
        """Do the same on an event loop, with the driver's connection for asyncio where it has one."""
        ...
