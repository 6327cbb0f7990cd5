"""The virtual engine: an engine for plain test functions, on virtual time and in memory, so that no test waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar, final

from everlog.core.codec import Codec
from everlog.core.durations import SECOND, Duration, as_datetime, microseconds
from everlog.core.log_lines import Exported
from everlog.errors import UsageError
from everlog.memory import MemoryStore
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.queues import Queue
from everlog.runtime import blocking, engine
from everlog.runtime.portal import Portal, refuse_where_nobody_may_block
from everlog.runtime.replaying import known_workflows, replay_environment
from everlog.runtime.verdicts import verdict_of
from everlog.store import WorkflowQuery
from everlog.testing.replays import HistoryDiverges
from everlog.testing.simulation import SimulatedHost

T = TypeVar("T")
YEAR: Final = 365 * 86_400
LEASE: Final = 100 * YEAR
"""Seconds. Nobody takes over from a virtual engine, and each renewal would be a stop on the way through time."""
LONGEST: Final = 10 * YEAR
PAGE: Final = 500


class _VirtualPortal(Portal):
    """Runs each call to its end, in virtual time; between calls no time passes and nothing happens."""

    def __init__(self, host: SimulatedHost) -> None:
        super().__init__(host)
        self._simulated = host

    def open(self) -> None:
        refuse_where_nobody_may_block()

    def close(self) -> None:
        pass

    def call(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        refuse_where_nobody_may_block()

        async def within() -> T:
            limit = asyncio.timeout(LONGEST)
            try:
                async with limit:
                    return await function()
            except TimeoutError:
                if limit.expired():
                    raise UsageError(
                        "ten years of virtual time have passed, and what is waited for has not come: is it a message "
                        "that nobody sends?"
                    ) from None
                raise

        return self._simulated.loop.run_until_complete(within())


@final
class VirtualEngine(blocking.Client):
    """An engine on virtual time: `with VirtualEngine() as engine: assert engine.run(checkout, order) == ...`.

    Its methods are those of `everlog.sync.Engine`. While one of them waits, time jumps to whatever is due next, so a
    sleep of a month takes none; between two calls no time passes. The same `seed` gives the same order of everything
    that real threads would do in any order. Its store is in memory, and gone with it. When its block is left without an
    error, each of its workflows is replayed: `HistoryDiverges` where its code did not do the same again, unless
    `replays=False`. The other options are those of `Engine`; what reads a clock or chance in workflow code is refused.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        replays: bool = True,
        workflows: Iterable[AnyWorkflow[..., Any]] | None = None,
        queues: Iterable[Queue | str] | None = None,
        codec: Codec | None = None,
        guards: Literal["off", "warn", "raise"] = "raise",
    ) -> None:
        self._host = SimulatedHost(seed)
        self._store = MemoryStore(clock=self._host.wall)
        self._replays = replays
        self._codec = codec
        self._make: Callable[[], engine.Engine] = lambda: engine.Engine(
            self._store, host=self._host, lease=LEASE, workflows=workflows, queues=queues, codec=codec, guards=guards
        )
        self._take(self._make())
        self._portal = _VirtualPortal(self._host)

    def __enter__(self) -> Self:
        self._portal.call(self._client.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        try:
            super().__exit__(kind, error, trace)
            if self._replays and error is None:
                self.replay()
        finally:
            self._host.run(_nothing())  # ends what it has left behind, and closes its loop

    def sleep(self, seconds: Duration) -> None:
        """Let virtual time pass."""
        delay = microseconds(seconds, what="seconds of sleep") / SECOND
        self._portal.call(lambda: asyncio.sleep(delay))

    def now(self) -> datetime:
        """Give the virtual time."""
        return as_datetime(self._host.wall())

    def restart(self) -> None:
        """Close the engine and open another on the same store, as a deploy does: what is open is replayed and goes on.

        Handles of before are of no use then; ask for others by `handle(id)`.
        """
        self._portal.call(lambda: self._client.__aexit__(None, None, None))
        self._client = self._make()
        self._portal.call(self._client.__aenter__)

    def history(self, workflow_id: str) -> Exported:
        """Give the history that a workflow has now: see `everlog.testing.replay`, `state_at` and `save_history`."""
        (head,) = self._store.heads([workflow_id])
        if head is None:
            raise UsageError(f"there is no workflow {workflow_id!r} in this engine")
        rows = [(row.seq, row.recorded_at, row.payload) for row in self._store.read(workflow_id)]
        return Exported(workflow_id=workflow_id, name=head.name, rows=rows)

    def replay(self) -> int:
        """Replay all workflows, and give how many they are; `HistoryDiverges` at the first that does not fit."""
        __tracebackhide__ = True
        environment, definitions = replay_environment(self._codec), known_workflows()
        query = WorkflowQuery(newest_first=False, limit=PAGE)
        count = 0
        while page := self._store.workflows(query):
            for head in page:
                verdict = verdict_of(self.history(head.workflow_id), definitions, environment)
                if not verdict.is_clean:
                    raise HistoryDiverges(verdict)
                count += 1
            query = WorkflowQuery(newest_first=False, limit=PAGE, after=(page[-1].created_at, page[-1].workflow_id))
        return count


async def _nothing() -> None:
    pass
