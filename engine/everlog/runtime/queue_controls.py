"""Queue controls: how a client changes queues and reads what they are. They put nothing into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from everlog.core.queues import QueueCounts, QueueRow
from everlog.errors import NotFound
from everlog.replay.queues import Queue
from everlog.runtime.queue_book import unknown_queue
from everlog.runtime.shell import Shell
from everlog.runtime.slots import name_of

if TYPE_CHECKING:
    from everlog.runtime.client import Client


class QueueControls:
    """Gives orders to queues in the name of a client; each raises `NotFound` where there is no such queue.

    A queue that is given as an object is declared before.
    """

    def __init__(self, client: Client, shell: Callable[[], Shell]) -> None:
        self._client = client
        self._shell = shell

    async def know(self, queue: Queue | str) -> QueueRow:
        """Give what is known of a queue."""
        return await self._client.on_thread(partial(self._use, queue))

    async def look(self, queue: Queue | str) -> QueueRow:
        """Give a queue as it is now."""
        return await self._client.on_thread(partial(self._read, queue))

    async def rows(self) -> Sequence[QueueRow]:
        """Give all queues as they are now."""

        def read() -> Sequence[QueueRow]:
            book = self._shell().book
            book.read()
            return list(book.rows.values())

        return await self._client.on_thread(read)

    async def change(
        self, queue: Queue | str, limits: Mapping[str, Any] | None = None, *, paused: bool | None = None
    ) -> None:
        """Change these of its limits, or whether it is paused."""
        await self._client.on_thread(partial(self._change, queue, limits, paused))

    async def delete(self, name: str) -> bool:
        """Remove a queue; False where it is in use."""

        def delete() -> bool:
            self._read(name)
            book = self._shell().book
            done = book.store().delete_queue(name)
            book.read()
            return done

        return await self._client.on_thread(delete)

    async def count(self, queue: Queue | str) -> QueueCounts:
        """Count what is in a queue."""

        def count() -> QueueCounts:
            name = self._use(queue).name
            (counts,) = self._shell().book.store().count_queues([name])
            return counts

        return await self._client.on_thread(count)

    # -- on the engine's thread --------------------------------------------------------------------------------------

    def _use(self, queue: Queue | str) -> QueueRow:
        row = self._shell().book.use(queue)
        if row is None:
            raise NotFound(unknown_queue(name_of(queue)))
        return row

    def _read(self, queue: Queue | str) -> QueueRow:
        self._shell().book.read()
        return self._use(queue)

    def _change(self, queue: Queue | str, limits: Mapping[str, Any] | None, paused: bool | None) -> None:
        shell, row = self._shell(), self._read(queue)
        changed = None if limits is None else msgspec.structs.replace(row.limits, **limits)
        if not shell.book.store().change_queue(row.name, limits=changed, paused=paused):
            raise NotFound(unknown_queue(row.name))
        shell.book.read()
        if shell.worker is not None:
            shell.worker.look_everywhere()
