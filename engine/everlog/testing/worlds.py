"""Worlds: a fleet of workers on one store in simulated time, to which mishaps happen. One seed gives one history of it.

What each part does is told by the modules before this one: hosts die and stand still, links lose and repeat, the
witness looks at each write, and the laws at what is there in the end. This one has them happen in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Any, Final, Literal, TypeVar, final

from everlog.core.codec import Codec
from everlog.core.durations import SECOND, Duration, as_datetime, microseconds
from everlog.core.event_codec import decode_event
from everlog.core.log_lines import Exported
from everlog.errors import StoreError, StoreUnavailable, UsageError
from everlog.memory import MemoryStore
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.queues import Queue
from everlog.runtime.client import Client
from everlog.runtime.engine import Engine
from everlog.runtime.portal import refuse_where_nobody_may_block
from everlog.runtime.replaying import known_workflows, replay_environment
from everlog.runtime.verdicts import verdict_of
from everlog.store import ENDED, Store
from everlog.testing.hosts import MortalHost, ProcessLoop
from everlog.testing.laws import broken_laws, heads_of, unrest
from everlog.testing.links import Link, Trouble, link_to
from everlog.testing.mishaps import CLIENT, Faults, Mishap
from everlog.testing.process_places import OPENING, Place
from everlog.testing.witness import EVERYWHERE, Witness

T = TypeVar("T")
PATIENCE: Final = 10 * 365 * 86_400.0
"""Seconds after the last mishap within which a program comes to its end."""
SETTLING: Final = 3600.0
SHOWN: Final = 60
"""So many lines of the trace are in the text of an error; all are in its `trace`."""
MOST_WORKFLOWS: Final = 20
NEAR: Final = 2.0
"""Seconds before something is due at which a fleet that rests is woken."""

Program = Callable[["Simulation"], Coroutine[Any, Any, T]]


class SimulationFailed(AssertionError):
    """A simulated world did what must not be. Its text tells what happened and how to have it happen again.

    `seed` and `mishaps` make it happen again; `why` is what went wrong, and `trace` all that happened, in lines.
    """

    def __init__(
        self, why: str, *, seed: int, mishaps: Sequence[Mishap], trace: Sequence[str], places: Sequence[str]
    ) -> None:
        self.why = why
        self.seed = seed
        self.mishaps = list(mishaps)
        self.trace = list(trace)
        shown = self.trace[-SHOWN:]
        again = "".join(f"\n        {mishap!r}," for mishap in self.mishaps)
        super().__init__(
            f"seed {seed}: {why}\n\n"
            f"What happened ({f'the last {len(shown)} of ' if len(shown) < len(trace) else ''}{len(trace)} lines):\n"
            + "\n".join(shown)
            + "\n\nWhere the workflows are:\n"
            + ("\n".join(places) or "there is none")
            + f"\n\nTo have it happen again: simulate(program, seed={seed}), with the same options, and these\n"
            f"    mishaps=[{again}\n    ]"
        )


class _Broken(Exception):
    """The world is over: something is as it must not be."""


@final
class Simulation:
    """A world of its own: `Simulation(seed=7, workers=3).run(program)`, for a plain function.

    `program` is an `async def` that is given the world. It uses `world.client`, which is a `Client` that nothing
    happens to, waits by `asyncio.sleep` and `asyncio.timeout` in simulated time, and asserts what it likes. Meanwhile
    `workers` engines on one store run `workflows`, by default all that are defined, and suffer `mishaps`, by default
    those that `faults` draws for the seed. When the program has returned they are brought to rest, and it is an error
    (`SimulationFailed`) if a workflow was lost, a result recorded twice, a history has a gap, a message of a sender
    was overtaken or lost, a limit was exceeded, a projection is not what the log says, or, unless `replays=False`, a
    history does not fit its code.

    The same seed and options give the same world to the last line of `trace`. `store` opens the store for each process,
    given the clock it is to use; by default all share one in memory. What steps do outside is as real as they make it;
    threads are simulated, processes and sockets are not. `lease`, `concurrency`, `queues`, `codec` and `guards` are
    those of `Engine`.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        workers: int = 3,
        faults: Faults | None = None,
        mishaps: Sequence[Mishap] | None = None,
        workflows: Iterable[AnyWorkflow[..., Any]] | None = None,
        queues: Iterable[Queue | str] | None = None,
        lease: Duration = 5,
        concurrency: int = 16,
        store: Callable[[Callable[[], int]], Store] | None = None,
        codec: Codec | None = None,
        guards: Literal["off", "warn", "raise"] = "raise",
        replays: bool = True,
    ) -> None:
        if workers < 1:
            raise UsageError(f"a simulation has at least one worker, got workers={workers!r}")
        seconds = microseconds(lease, what="lease") / SECOND
        self.seed = seed
        self._workers = workers
        given = Faults() if faults is None else faults
        drawn = given.draw(seed, workers=workers, lease=seconds) if mishaps is None else list(mishaps)
        self.mishaps = sorted(drawn, key=lambda one: one.at)
        """What goes wrong, in order."""
        if any(not CLIENT <= one.process <= workers for one in self.mishaps):
            raise UsageError(f"mishaps happen to the client, 0, and to the workers 1 to {workers}: {self.mishaps!r}")
        self._options: dict[str, Any] = {
            "workflows": None if workflows is None else list(workflows),
            "queues": None if queues is None else list(queues),
            "codec": codec,
            "guards": guards,
            "lease": lease,
            "concurrency": concurrency,
        }
        self._open = store
        self._replays = replays
        self._codec = codec
        self._loop = ProcessLoop()
        self._witness = Witness(self._loop.time)
        self._host = self._host_of("client")
        self._clock = self._host_of("clock")
        self._store: Store = MemoryStore(clock=self._clock.wall) if store is None else store(self._clock.wall)
        self._opened = [self._store]
        self._link = self._link_of("client")
        self._client: Client | None = None
        self._fleet: list[Place] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._over = asyncio.Event()
        self._began = False

    # -- for the program ---------------------------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """A client on a process of its own."""
        if self._client is None:
            raise UsageError(
                "the client of a simulation is there while its program runs: Simulation(seed).run(program)"
            )
        return self._client

    @property
    def store(self) -> Store:
        """The store itself, for looking."""
        return self._store

    @property
    def trace(self) -> list[str]:
        """What has happened so far: time in seconds, process, and what it did or suffered."""
        return list(self._witness.lines)

    def now(self) -> datetime:
        """Give the simulated time, by the clock of the store."""
        return as_datetime(self._store.now())

    def tell(self, what: str) -> None:
        """Add a line of the program's to the trace."""
        self._witness.tell("program", what)

    async def insist(self, call: Callable[[], Awaitable[T]], /, *, patience: float = SETTLING) -> T:
        """Call again, until the store can be reached: what is called has an id or a key, so that it happens once."""
        limit = asyncio.timeout(patience)
        try:
            async with limit:
                while True:
                    try:
                        return await call()
                    except StoreUnavailable:
                        await asyncio.sleep(OPENING)
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutError(f"what the program insists on has not come within {patience:g} s") from error
            raise

    async def calm(self) -> None:
        """End all mishaps for good, and wait until all processes are up and reach the store."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._link.heal()
        self._link.troubles.clear()
        for process in self._fleet:
            if process.link is not None:
                process.link.troubles.clear()
                process.link.heal()
            if process.host is not None:
                process.host.resume()
        for process in self._fleet:
            if not process.is_up.is_set() and not process.is_moving:
                self._spawn(process.begin())
        for process in self._fleet:
            await process.is_up.wait()

    async def settled(self, *, patience: float = SETTLING) -> None:
        """Be calm, and wait until every workflow has ended or waits for what has not come; else it fails."""
        await self.calm()
        until, pause = self._loop.time() + patience, 0.05
        while restless := list(islice(unrest(self._store), MOST_WORKFLOWS)):
            if self._loop.time() > until or " is stuck " in restless[0]:
                raise _Broken(restless[0])
            await asyncio.sleep(pause)
            pause = min(2 * pause, SETTLING / 10)

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, program: Program[T]) -> T:
        """Run the program to its end, and give what it returns. Once; raises `SimulationFailed`."""
        refuse_where_nobody_may_block()
        if self._began:
            raise UsageError("a simulation is run once; make another, with the same seed, to have it happen again")
        self._began = True
        return self._host.run(self._main(program))

    async def _main(self, program: Program[T]) -> T:
        self._witness.on_broken = self._over.set
        try:
            async with Client(self._link, codec=self._codec, host=self._host) as self._client:
                self._fleet = [
                    Place(number, self._process_of, self._witness.tell) for number in range(1, self._workers + 1)
                ]
                for process in self._fleet:
                    self._spawn(process.begin())
                for mishap in self.mishaps:
                    self._tasks.append(asyncio.ensure_future(self._happens(mishap)))
                dozing = self._spawn(self._doze())
                value = await self._until_over(program(self))
                dozing.cancel()
                await self._until_over(self._end())
                return value
        except _Broken as error:
            raise self._failed(str(error)) from error.__cause__
        finally:
            self._bury()

    async def _until_over(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it, unless the world is over before."""
        task, over = asyncio.ensure_future(work), asyncio.ensure_future(self._over.wait())
        last = max([one.at for one in self.mishaps], default=0.0)
        await asyncio.wait([task, over], timeout=last + PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        defect = self._defect()
        if defect is not None:
            task.cancel()
            raise _Broken(f"an engine failed, which is a defect of Everlog: {defect!r}") from defect
        if self._witness.broken:
            task.cancel()
            raise _Broken(self._witness.broken[0])
        if not task.done():
            task.cancel()
            lost = next(unrest(self._store), "every workflow has ended, or waits for what has not come")
            raise _Broken(f"the program did not come to its end; {lost}")
        error = task.exception()
        if error is None or isinstance(error, _Broken):
            return task.result()
        raise _Broken(f"{type(error).__name__}: {error}") from error

    def _defect(self) -> BaseException | None:
        """Give what ended the thread of an engine, which nothing may."""
        hosts = [self._host, *(host for process in self._fleet for host, _, _ in process.past)]
        return next((host.failure for host in hosts if host.failure is not None), None)

    async def _end(self) -> None:
        await self.settled()
        for why in broken_laws(self._store, self._witness.histories):
            raise _Broken(why)
        if self._replays:
            self._replay()
        for process in self._fleet:
            await process.close()
        for row in self._store.workers():
            raise _Broken(f"{row.worker} was closed, and is still a worker of the store")

    def _replay(self) -> None:
        environment, definitions = replay_environment(self._codec), known_workflows()
        for head in heads_of(self._store):
            rows = [(row.seq, row.recorded_at, row.payload) for row in self._store.read(head.workflow_id)]
            verdict = verdict_of(
                Exported(workflow_id=head.workflow_id, name=head.name, rows=rows), definitions, environment
            )
            if not verdict.is_clean and verdict.outcome != "unknown":
                raise _Broken(str(verdict))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something that belongs to the world; its error is the end of it."""
        task = asyncio.ensure_future(work)

        def look(ended: asyncio.Task[Any]) -> None:
            if not ended.cancelled() and ended.exception() is not None:
                self._witness.breaks(f"the simulation itself failed: {ended.exception()!r}")

        task.add_done_callback(look)
        return task

    # -- what happens ------------------------------------------------------------------------------------------------

    async def _happens(self, mishap: Mishap) -> None:
        await asyncio.sleep(mishap.at - self._loop.time())
        tell, seconds = self._witness.tell, mishap.seconds
        if mishap.kind == "store clock":
            tell(EVERYWHERE, f"the clock of the store jumps by {seconds:g} s")
            self._clock.jumped += round(seconds * SECOND)
            self._witness.counts_rates = False
            return
        if mishap.process == CLIENT:
            await self._suffer(self._link, mishap)
            return
        process = self._fleet[mishap.process - 1]
        host, link = process.host, process.link
        if host is None or link is None or not process.is_up.is_set():
            return
        match mishap.kind:
            case "crash":
                tell(host.name, "dies")
                process.kill()
                await asyncio.sleep(seconds)
                await asyncio.shield(self._spawn(process.begin()))
            case "restart":
                if not host.paused:
                    tell(host.name, "is closed for a deployment")
                    await asyncio.shield(self._spawn(self._restart(process, seconds)))
            case "pause":
                tell(host.name, f"stands still for {seconds:g} s")
                host.pause()
                await asyncio.sleep(seconds)
                tell(host.name, "goes on")
                host.resume()
            case "process clock":
                tell(host.name, f"has its clock jump by {seconds:g} s")
                host.jumped += round(seconds * SECOND)
            case _:
                await self._suffer(link, mishap)

    async def _suffer(self, link: Link, mishap: Mishap) -> None:
        match mishap.kind:
            case "cut":
                self._witness.tell(link.who, f"cannot reach the store for {mishap.seconds:g} s")
                link.is_cut = True
                await asyncio.sleep(mishap.seconds)
                self._witness.tell(link.who, "can reach the store again")
                link.heal()
            case "drop" | "lose" | "late" | "repeat" as kind:
                link.troubles.append(Trouble(kind, mishap.seconds))
            case _:
                raise UsageError(f"{mishap.kind!r} happens to processes of workers only, got {mishap!r}")

    async def _restart(self, process: Place, seconds: float) -> None:
        process.is_moving = True
        await process.close()
        await asyncio.sleep(seconds)
        await process.begin()

    async def _doze(self) -> None:
        """While nothing is due for long, stop the fleet, as if its machines were suspended: so days cost nothing."""
        lease = microseconds(self._options["lease"], what="lease") / SECOND
        while True:
            await asyncio.sleep(1.0)
            hosts = [process.host for process in self._fleet if process.host is not None]
            if any(not task.done() for task in self._tasks) or not all(one.is_up.is_set() for one in self._fleet):
                continue
            upkeep = {timer for host in hosts for timer in host.housekeeping()}
            due = self._loop.next_due(upkeep)
            if due is None or due - self._loop.time() < 4 * lease:
                continue
            for host in hosts:
                host.pause()
            await asyncio.sleep(due - self._loop.time() - NEAR)
            for host in hosts:
                host.resume()

    # -- its parts ---------------------------------------------------------------------------------------------------

    def _host_of(self, name: str) -> MortalHost:
        def died(other: str) -> bool:
            return any(host.name == other and host.crashed for one in self._fleet for host, _, _ in one.past)

        return MortalHost(f"{name} of {self.seed}", loop=self._loop, name=name, died=died)

    def _link_of(self, who: str) -> Link:
        store = self._store if self._open is None or who == "client" else self._open(self._clock.wall)
        if all(store is not one for one in self._opened):
            self._opened.append(store)
        return link_to(store, who, self._witness, self._loop)

    def _process_of(self, name: str) -> tuple[MortalHost, Link, Engine]:
        host, link = self._host_of(name), self._link_of(name)
        return host, link, Engine(link, host=host, **self._options)

    def _bury(self) -> None:
        """Have all that was left suspended end: it would else be finalised at any moment, in another world perhaps."""
        for process in self._fleet:
            process.end()
        for task in self._loop.left():
            if task is not asyncio.current_task():
                task.cancel()
        for process in self._fleet:
            for host, _, _ in process.past:
                host.bury()

    def _failed(self, why: str) -> SimulationFailed:
        places: list[str] = []
        with suppress(StoreError):
            open_ones = [head for head in heads_of(self._store) if head.state not in ENDED]
            for head in open_ones[:MOST_WORKFLOWS]:
                held = "held by nobody" if head.worker is None else f"held by {self._witness.name_of(head.worker)}"
                last = [type(decode_event(row.payload)).__name__ for row in self._store.read(head.workflow_id)[-1:]]
                places.append(f"{head.workflow_id} ({head.name}): {head.state} at seq {head.seq} {last}, {held}")
        return SimulationFailed(why, seed=self.seed, mishaps=self.mishaps, trace=self._witness.lines, places=places)


def simulate(program: Program[T], /, *, seed: int = 0, narrow: bool = True, **options: Any) -> T:
    """Run a program in a world of its own, as `Simulation(seed, **options).run(program)` does.

    Where that fails it is run again without one mishap and then another (unless `narrow=False`), so that the error
    tells only those without which nothing fails.
    """
    try:
        return Simulation(seed, **options).run(program)
    except SimulationFailed as error:
        found = _narrowed(program, error, seed, options) if narrow else error
        raise found from found.__cause__


def _narrowed(program: Program[Any], failed: SimulationFailed, seed: int, options: dict[str, Any]) -> SimulationFailed:
    at = len(failed.mishaps)
    while at:
        at -= 1
        fewer = failed.mishaps[:at] + failed.mishaps[at + 1 :]
        try:
            Simulation(seed, **(options | dict[str, Any](mishaps=fewer))).run(program)
        except SimulationFailed as error:
            failed = error
            at = min(at, len(failed.mishaps))
    return failed
