"""Queues: what users declare of them, and how workflow code and steps put workflows into them. They hold nothing."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, final

from everlog.core.durations import SECOND, Duration, microseconds
from everlog.core.names import check_name
from everlog.core.numbers import check_count
from everlog.core.queues import QueueLimits, Rate
from everlog.errors import UsageError

if TYPE_CHECKING:
    from everlog.replay.definition import Definition
    from everlog.runtime.handles import Handle

P = ParamSpec("P")
T = TypeVar("T")


@final
class RateLimit:
    """At most `limit` admissions in any window of `per` (seconds or timedelta): `RateLimit(100, per=60)`.

    Raises `UsageError` for values that make no sense.
    """

    __slots__ = ("limit", "per")

    def __init__(self, limit: int, /, *, per: Duration) -> None:
        self.limit = check_count(limit, what="the limit of a RateLimit")
        self.per = microseconds(per, what="per of a RateLimit")
        if not self.per:
            raise UsageError("per of a RateLimit must be more than 0: it is the window in which admissions are counted")

    def __repr__(self) -> str:
        return f"RateLimit({self.limit}, per={self.per / SECOND:g})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RateLimit) and (other.limit, other.per) == (self.limit, self.per)

    def __hash__(self) -> int:
        return hash((self.limit, self.per))


@final
class Queue:
    """A queue of workflows, of its name in the whole database: what it limits; None is no limit.

    `concurrency`: how many of its workflows have been admitted and have not ended, over all workers;
    `partition_concurrency` the same of each partition. `rate_limit`, `partition_rate_limit`: how many are admitted in
    any window of time. `worker_concurrency`: how many of them one worker holds in memory, and
    `partition_worker_concurrency` the same of each partition. What code declares is written to the database by the
    engine or client that first uses it; what is changed there later outlives restarts, until the code declares
    something else. Raises `UsageError` for values that make no sense.
    """

    __slots__ = ("limits", "name")

    def __init__(
        self,
        name: str,
        /,
        *,
        concurrency: int | None = None,
        worker_concurrency: int | None = None,
        rate_limit: RateLimit | None = None,
        partition_concurrency: int | None = None,
        partition_rate_limit: RateLimit | None = None,
        partition_worker_concurrency: int | None = None,
    ) -> None:
        self.name = check_name(name, "the name of a queue")
        self.limits = QueueLimits(
            concurrency=_count(concurrency, "concurrency"),
            rate_limit=rate_of(rate_limit, "rate_limit"),
            partition_concurrency=_count(partition_concurrency, "partition_concurrency"),
            partition_rate_limit=rate_of(partition_rate_limit, "partition_rate_limit"),
            worker_concurrency=_count(worker_concurrency, "worker_concurrency"),
            partition_worker_concurrency=_count(partition_worker_concurrency, "partition_worker_concurrency"),
        )

    def __repr__(self) -> str:
        return f"Queue({self.name!r}{told(self.limits)})"

    if TYPE_CHECKING:  # for the checkers a coroutine function, so that they find a forgotten await

        async def enqueue(self, fn: Definition[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Handle[T]:
            raise NotImplementedError

    else:  # the operation is drawn where it is called, not where it is awaited

        def enqueue(self, fn, /, *args, **kwargs):
            """Put a workflow into this queue, and give its handle: the same as `everlog.start(fn.options(queue=self))`.

            In workflow code it is a child of this workflow, in an async step a start as by the engine. In blocking code
            write `sync.start(fn.options(queue=queue), ...)`, outside `engine.queue(queue).enqueue(fn, ...)`.
            """
            return enqueuing.start(self, fn, args, kwargs)


class _Enqueuing:
    """How workflow code starts a workflow: said by the module that knows."""

    start: Callable[[Queue, Any, tuple[Any, ...], dict[str, Any]], Coroutine[Any, Any, Any]]


enqueuing: Final = _Enqueuing()


def _count(given: int | None, what: str) -> int | None:
    return None if given is None else check_count(given, what=f"{what} of a queue")


def rate_of(given: RateLimit | None, what: str) -> Rate | None:
    """Give a rate as it is stored; `UsageError` for what is none."""
    if given is None:
        return None
    # Users without a type checker give anything.
    if not isinstance(given, RateLimit):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{what} of a queue must be a RateLimit, got {given!r}; write RateLimit(100, per=60)")
    return Rate(limit=given.limit, per=given.per)


def told(limits: QueueLimits) -> str:
    """Give the limits as they are written in code, each after a comma."""
    parts: list[str] = []
    for name in QueueLimits.__struct_fields__:
        value = getattr(limits, name)
        if isinstance(value, Rate):
            parts.append(f", {name}=RateLimit({value.limit}, per={value.per / SECOND:g})")
        elif value is not None:
            parts.append(f", {name}={value}")
    return "".join(parts)
