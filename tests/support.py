"""What many tests of the engine share: simulated runs, stores that fail, hosts that stand still."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from everlog import Client, Engine, Handle, HistoryEvent
from everlog.core.asks import ANSWER, answer_topic
from everlog.core.attributes import kept
from everlog.core.event_codec import decode_event
from everlog.core.events import ItemsEmitted
from everlog.core.names import CHILD_ENDED
from everlog.errors import StoreUnavailable
from everlog.host import Driver, Pump
from everlog.memory import MemoryStore
from everlog.runtime.status import folded_history
from everlog.runtime.verifying import findings_of
from everlog.store import (
    ENDED,
    Batch,
    BatchOutcome,
    Store,
    StreamQuestion,
    StreamRow,
    SupportsFinding,
    SupportsStreams,
    SupportsValues,
    SupportsWaits,
    WaitQuery,
)
from everlog.store_moving import SupportsMoving
from everlog.testing import FaultyStore
from everlog.testing.simulation import SimulatedHost
from everlog_postgres import open_store as open_postgres
from everlog_sqlite import SqliteStore
from tests.postgres import lent_schema, needs_postgres

T = TypeVar("T")
LONGEST = 10_000
"""Seconds of virtual time: what takes longer never ends."""

on_both_stores = pytest.mark.parametrize("kind", ["memory", "sqlite", pytest.param("postgres", marks=needs_postgres)])
"""Runs a test on the memory store and on both databases; the test hands `kind` and `tmp_path` to `make_store`."""

buries_its_dead = [
    pytest.mark.usefixtures("burial"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
"""Marks tests that leave code suspended, by killing its engine or by dropping a generator: its clean-up, which the
collector runs, may fail. It is collected before the next test begins, which would be blamed."""


def make_store(host: SimulatedHost, kind: str = "memory", folder: Path | None = None) -> Store:
    """Make a store on the host's clock."""
    if kind == "memory":
        return MemoryStore(clock=host.wall)
    assert folder is not None
    if kind == "postgres":
        return open_postgres(_schema_for(folder), durability="process", clock=host.wall)
    return SqliteStore(folder / "everlog.db", durability="process", clock=host.wall)


@cache
def _schema_for(folder: Path) -> str:
    """Give the URL of the schema that stands for the database of a folder."""
    return lent_schema()


def run(
    program: Callable[[Engine], Coroutine[Any, Any, T]],
    *,
    seed: int = 0,
    kind: str = "memory",
    folder: Path | None = None,
    store: Callable[[Store], Store] = lambda store: store,
    **options: Any,
) -> T:
    """Run a program with a simulated engine to its end, and the engine as well."""
    host = SimulatedHost(seed)

    async def main() -> T:
        async with Engine(store(make_store(host, kind, folder)), host=host, **options) as engine:
            async with asyncio.timeout(LONGEST):
                return await program(engine)

    return host.run(main())


def simulate(program: Callable[[SimulatedHost], Coroutine[Any, Any, T]], *, seed: int = 0) -> T:
    """Run a program that opens its engines itself; the host can stand still."""
    host = PausableHost(seed)

    async def main() -> T:
        async with asyncio.timeout(LONGEST):
            return await program(host)

    return host.run(main())


class PausableHost(SimulatedHost):
    """A simulated host that can be stopped as by SIGSTOP, and go on later."""

    def __init__(self, seed: int, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        super().__init__(seed, loop=loop)
        self.paused = False

    def sibling(self) -> PausableHost:
        """Give the host of another process on the same virtual machine."""
        return PausableHost(self.random.randrange(2**32), loop=self.loop)

    def drive(self, name: str, pump: Pump) -> Driver:
        return super().drive(name, _PausablePump(self, pump))

    def pause(self) -> None:
        """Stand still: nothing is driven any more."""
        self.paused = True

    def resume(self) -> None:
        """Go on, as if no time had passed."""
        self.paused = False
        for driver in self._drivers:
            driver.wake()


class _PausablePump:
    def __init__(self, host: PausableHost, pump: Pump) -> None:
        self._host = host
        self._pump = pump

    def pump(self) -> float | None:
        return None if self._host.paused else self._pump.pump()


class FlakyStore(FaultyStore):
    """A store that can be unreachable for a while, or lose the answers to commits that it made."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.down = False
        self.lose_answers = 0
        """So many of the next commits are durable, but the caller only hears that this is not known."""
        self.down_after_lost = False
        """Whether it is down from then on."""
        self.on_commit: Callable[[Batch], None] = lambda batch: None

    def now(self) -> int:
        return self.store.now()

    def commit(self, batch: Batch) -> BatchOutcome:
        self.on_commit(batch)
        outcome = super().commit(batch)
        if self.lose_answers:
            self.lose_answers -= 1
            self.down = self.down or self.down_after_lost
            raise StoreUnavailable("the connection was lost after the commit, as the test asked", unknown_outcome=True)
        return outcome

    def _living(self) -> Store:
        if self.down:
            raise StoreUnavailable("the store is down, as the test asked")
        return super()._living()


async def opened(engine: Engine) -> Engine:
    """Open an engine that is never closed: its process dies."""
    return await engine.__aenter__()


def kill(engine: Engine) -> None:
    """End the simulated process of an engine as by SIGKILL, with its steps."""
    host: Any = engine.host
    host.crash()
    shell: Any = engine._shell
    for dispatch in list(shell.worker._steps.running.values()):
        dispatch.dropped = True
        if dispatch.task is not None:
            dispatch.task.cancel()


async def until(condition: Callable[[], bool | Awaitable[bool]], *, seconds: float = 60) -> None:
    """Wait in virtual time until a condition holds."""
    for _ in range(int(seconds / 0.01)):
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("what the test waits for did not come to be")


async def in_state(handle: Handle[Any], state: str, *, seconds: float = 60) -> None:
    """Wait in virtual time until the workflow is in a state."""

    async def holds() -> bool:
        return (await handle.status()).state == state

    await until(holds, seconds=seconds)


async def kinds(handle: Handle[Any]) -> list[str]:
    """Give the types of the events of a history."""
    return [event.type for event in await handle.history()]


async def events_of(client: Client, workflow_id: str, kind: str) -> list[HistoryEvent]:
    """Give the events of one type."""
    return [event for event in await client.handle(workflow_id).history() if event.type == kind]


def rows_of(store: Store, workflow_id: str, stream: str) -> Sequence[StreamRow]:
    """Give all rows of a stream."""
    assert isinstance(store, SupportsStreams)
    question = StreamQuestion(workflow_id=workflow_id, stream=stream, start=0)
    return store.read_streams([question], limit=1_000_000)[0].rows


def published_fits(store: Store, workflow_id: str) -> None:
    """Check that the values are those of the log, and that streams have no gaps, and what the log says."""
    assert isinstance(store, SupportsValues)
    assert isinstance(store, SupportsStreams)
    history = store.read(workflow_id)
    kept = {row.name: (row.seq, row.recorded_at, row.payload) for row in store.values(workflow_id)}
    folded = folded_history(history)
    said_last = {**folded.values, **folded.replies}
    assert kept == {name: (one.seq, one.recorded_at, bytes(one.value)) for name, one in said_last.items()}
    own: list[tuple[str, int, int, bytes]] = []
    for end in store.streams(workflow_id):
        rows = rows_of(store, workflow_id, end.stream)
        assert [row.offset for row in rows] == [0, *(row.offset + row.count for row in rows)][:-1]
        assert end.length == rows[-1].offset + rows[-1].count
        of_code = [row for row in rows if row.operation is None and row.kind == "items"]
        own += [(row.stream, row.offset, row.count, row.payload) for row in of_code]
    events = [decode_event(row.payload) for row in history]
    said = [event for event in events if isinstance(event, ItemsEmitted)]
    assert sorted(own) == sorted((event.stream, event.offset, event.count, bytes(event.items)) for event in said)


def projections_fit(store: Store, workflow_id: str) -> None:
    """Check that the head of a workflow says what its history says, and that `everlog verify` finds nothing."""
    if isinstance(store, SupportsMoving):
        findings = [str(one) for rows in store.rows_of([workflow_id]) for one in findings_of(rows, now=store.now())]
        assert findings == []
    (head,) = store.heads([workflow_id])
    rows = store.read(workflow_id)
    assert head is not None
    assert [row.seq for row in rows] == list(range(1, head.seq + 1))
    folded = folded_history(rows)
    assert (head.name, head.created_at, head.ended_at) == (folded.name, folded.created_at, folded.ended_at)
    assert head.first_seq == (folded.continued_seq or 1)
    if isinstance(store, SupportsFinding):
        assert store.attributes([workflow_id]) == [kept(folded.attributes, folded.parent, folded.forked_from)]
    assert (head.state in ENDED) == (folded.status in ENDED)
    if head.state in ENDED:
        assert folded.requests == {}, "what was asked and not answered is refused at the end"
        assert head.state == folded.status
        assert (head.token, head.worker) == (None, None)
        assert folded.open == {}, "every row that opens an operation is closed by one"
    if head.state == "waiting":
        due = [operation.due_at for operation in folded.open.values() if operation.due_at is not None]
        due += [folded.deadline] if folded.deadline is not None else []
        assert head.wake_at == min(due, default=None)
        awaited = {CHILD_ENDED} & set(head.topics)  # whether a child is only open or awaited is not in the history
        assert folded.children or not awaited
        listed = {answer_topic(one.listed.seq) for one in folded.open.values() if one.listed is not None}
        waits = {one.name for one in folded.open.values() if one.kind == "wait"}
        topics = [topic for topic in head.topics if topic in listed or not topic.startswith(ANSWER)]
        assert topics == sorted(waits | listed | awaited)
    if isinstance(store, SupportsWaits):
        listed_waits = [one.wait for one in store.list_waits(WaitQuery(workflow_id=workflow_id, limit=1000))]
        said = [one.listed for one in folded.open.values() if one.listed is not None]
        assert listed_waits == sorted(said, key=lambda wait: (wait.opened_at, wait.seq))
