"""Queue handles: one queue, as a client sees it, and the list of all. They admit nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypedDict, TypeVar, Unpack, final

import msgspec

from everlog.core.durations import SECOND
from everlog.core.numbers import check_count
from everlog.core.queues import Rate
from everlog.errors import UsageError
from everlog.replay.calling import startable_of
from everlog.replay.definition import Definition
from everlog.replay.queues import Queue, RateLimit, rate_of
from everlog.runtime.outside import outside

if TYPE_CHECKING:
    from everlog.runtime.client import Client
    from everlog.runtime.handles import Handle

P = ParamSpec("P")
T = TypeVar("T")


class QueueChanges(TypedDict, total=False):
    """What `update` of a queue takes: new limits; None is no limit, and what is left out stays."""

    concurrency: int | None
    worker_concurrency: int | None
    rate_limit: RateLimit | None
    partition_concurrency: int | None
    partition_rate_limit: RateLimit | None
    partition_worker_concurrency: int | None


class QueueStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A queue as it is: its limits, None where there is none, and whether it is paused."""

    name: str
    paused: bool
    concurrency: int | None
    worker_concurrency: int | None
    rate_limit: RateLimit | None
    partition_concurrency: int | None
    partition_rate_limit: RateLimit | None
    partition_worker_concurrency: int | None


class QueueCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many workflows of a queue could be admitted now, how many are delayed, and how many slots are taken.

    The slots of steps are among those. One that is paused before it was admitted is counted nowhere.
    """

    queued: int
    delayed: int
    admitted: int


@final
class QueueHandle:
    """One queue. Making a handle asks nothing; each method says when there is no such queue by `NotFound`.

    A queue that is given as an object is declared by the first of them.
    """

    def __init__(self, client: Client, queue: Queue | str) -> None:
        self._client = client
        self._queue = queue

    def __repr__(self) -> str:
        return f"<QueueHandle {self.name!r}>"

    @property
    def name(self) -> str:
        """The name of the queue."""
        return self._queue.name if isinstance(self._queue, Queue) else self._queue

    @outside
    async def enqueue(self, fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Handle[T]:
        """Put a workflow into this queue, and give its handle; the same as `start(fn.options(queue=...), ...)`."""
        definition: Any = startable_of(fn)  # both colours have options
        placed: Definition[P, T] = definition.options(queue=self._queue)
        return await self._client.start(placed, *args, **kwargs)

    @outside
    async def pause(self) -> None:
        """Have nothing of the queue admitted, and no slot of it taken by a step, until `resume`. What was goes on."""
        await self._client.queue_controls.change(self._queue, paused=True)

    @outside
    async def resume(self) -> None:
        """Take `pause` back."""
        await self._client.queue_controls.change(self._queue, paused=False)

    @outside
    async def update(self, **limits: Unpack[QueueChanges]) -> None:
        """Change limits of the queue, for all workers and until its code declares others; what was admitted goes on."""
        given: dict[str, Any] = dict(limits)
        unknown = given.keys() - QueueChanges.__annotations__.keys()
        if unknown or not given:
            what = f"no limit {sorted(unknown)[0]!r}" if unknown else "limits, and was given nothing to change"
            raise UsageError(f"a queue has {what}; it has {', '.join(QueueChanges.__annotations__)}")
        changes = {name: _checked(name, value) for name, value in given.items()}
        await self._client.queue_controls.change(self._queue, changes)

    @outside
    async def delete(self) -> None:
        """Remove the queue. Raises `UsageError` while a workflow has a place in it, or a step one of its slots."""
        if not await self._client.queue_controls.delete(self.name):
            raise UsageError(f"queue {self.name!r} is kept: a workflow has a place in it, or a step one of its slots")

    @outside
    async def counts(self) -> QueueCounts:
        """Count what is in the queue."""
        found = await self._client.queue_controls.count(self._queue)
        return QueueCounts(queued=found.due, delayed=found.delayed, admitted=found.taken)

    @outside
    async def status(self) -> QueueStatus:
        """Give the limits of the queue as they are now, and whether it is paused."""
        found = await self._client.queue_controls.look(self._queue)
        limits = found.limits
        return QueueStatus(
            name=found.name,
            paused=found.paused,
            concurrency=limits.concurrency,
            worker_concurrency=limits.worker_concurrency,
            rate_limit=_shown(limits.rate_limit),
            partition_concurrency=limits.partition_concurrency,
            partition_rate_limit=_shown(limits.partition_rate_limit),
            partition_worker_concurrency=limits.partition_worker_concurrency,
        )


async def queues_of(client: Client, mark: object) -> tuple[list[QueueHandle], object]:
    """Give all queues as the one page of a listing."""
    return [QueueHandle(client, row.name) for row in await client.queue_controls.rows()], None


_RATES: Final = ("rate_limit", "partition_rate_limit")


def _checked(name: str, given: Any) -> Any:
    if name in _RATES:
        return rate_of(given, name)
    return None if given is None else check_count(given, what=f"{name} of a queue")


def _shown(rate: Rate | None) -> RateLimit | None:
    return None if rate is None else RateLimit(rate.limit, per=rate.per / SECOND)
