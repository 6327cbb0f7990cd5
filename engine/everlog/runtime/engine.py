"""The engine: a client that also runs workflows, inside the user's process."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from os import PathLike
from typing import Any, Final, Literal, final

import msgspec

from everlog.core.codec import Codec
from everlog.core.durations import SECOND, Duration, microseconds
from everlog.core.keeping import Retention, retention_of
from everlog.core.numbers import check_count
from everlog.core.version import VERSION
from everlog.errors import StoreError, UsageError
from everlog.host import Driver, Host
from everlog.replay.definition import Definition
from everlog.replay.definitions import AnyStep, AnyWorkflow
from everlog.replay.environment import Environment
from everlog.replay.guards import install_guards
from everlog.replay.instances import hosted, runnable, unwrapped
from everlog.replay.lone_steps import WithSteps, alone
from everlog.replay.placing import checked_queue
from everlog.replay.queues import Queue
from everlog.replay.registry import by_log_names, registered_workflows
from everlog.runtime.archives import Archive
from everlog.runtime.backends import Durability
from everlog.runtime.builds import current_build
from everlog.runtime.client import Client
from everlog.runtime.declaring import Declarations
from everlog.runtime.inner import install_handles
from everlog.runtime.leases import LeaseKeeper
from everlog.runtime.observed import ObservedSteps, ObservedWorker, measured
from everlog.runtime.observers import Observer, Observers
from everlog.runtime.outside import outside
from everlog.runtime.pruning import retaining
from everlog.runtime.retaining import Retainer
from everlog.runtime.settings import WorkerSettings
from everlog.runtime.shell import Shell
from everlog.runtime.slots import name_of
from everlog.runtime.steps import StepRunner
from everlog.runtime.stopping import called_when_told_to_end
from everlog.runtime.strangers import Strangers
from everlog.runtime.ticking import Ticker
from everlog.runtime.transactions import Transactions
from everlog.runtime.watching import DrainWatcher
from everlog.runtime.worker import Worker
from everlog.store import Store
from everlog.store_schedules import SupportsSchedules

log: Final = logging.getLogger("everlog")
CLOSING: Final = 5.0
"""Seconds for the last commits once the grace time is over, and for the engine's thread to answer."""


@final
class Engine(Client):
    """Runs workflows inside this process: `async with Engine("sqlite:///shop.db") as engine`.

    On opening it resumes what a dead process left behind; on leaving the block it lets running steps end, for up to
    `grace`, and hands the rest back for the next engine: nothing is lost.

    `workflows`: those that it runs, and the steps that it runs where they are started by themselves; by default all
    that are defined. `queues`: those from which it takes workflows, by default all of the store; what is given as a
    `Queue`, here or to its workflows, is declared. `concurrency`: how many it holds in memory. `step_threads`: how many
    plain steps run at once. `lease`: after how long of silence others may take its work over. `guards`: what happens
    when workflow code reads a clock, chance, a file or the environment directly.
    `codec`, `durability`: see `Client`. `retention`: after how long those of its workflows are removed that have ended,
    and have no retention of their own; by default never. `archive`: a folder in which each is kept as a file before.
    `observers` are told what it does, such as `everlog.observing.Tracing()`.
    `host` is for simulations.
    """

    def __init__(
        self,
        url: str | Store,
        /,
        *,
        workflows: Iterable[Definition[..., Any]] | None = None,
        queues: Iterable[Queue | str] | None = None,
        concurrency: int = 1000,
        step_threads: int = 64,
        lease: Duration = 10,
        grace: Duration = 30,
        codec: Codec | None = None,
        guards: Literal["off", "warn", "raise"] = "warn",
        durability: Durability = "full",
        retention: Duration | Retention | None = None,
        archive: str | PathLike[str] | None = None,
        observers: Iterable[Observer] = (),
        host: Host | None = None,
    ) -> None:
        super().__init__(url, codec=codec, durability=durability, host=host)
        self._observers = Observers(observers)
        if guards not in ("off", "warn", "raise"):
            raise UsageError(f"guards must be 'off', 'warn' or 'raise', got {guards!r}")
        if isinstance(workflows, Definition):  # pyright: ignore[reportUnnecessaryIsInstance] - users without a checker
            raise UsageError(f"workflows= takes a list of workflows, got {workflows!r}; write [{workflows.name}]")
        if isinstance(queues, Queue | str):
            raise UsageError(f"queues= takes a list of queues, got {queues!r}; write [{queues!r}]")
        self._queues = None if queues is None else [checked_queue(one, "each of queues=") for one in queues]
        self._workflows = None if workflows is None else by_log_names(map(_checked, workflows))
        self._concurrency = check_count(concurrency, what="concurrency")
        self._step_threads = check_count(step_threads, what="step_threads")
        self._lease = microseconds(lease, what="lease")
        if self._lease == 0:
            raise UsageError("lease must be more than 0: nothing could be run within it")
        self._grace = microseconds(grace, what="grace") / SECOND
        self._guards: Literal["off", "warn", "raise"] = guards
        self._retainer = Retainer(
            self,
            self._known,
            retention_of(retention, what="retention"),
            None if archive is None else Archive(archive),
        )
        self._pruning: asyncio.Task[None] | None = None
        self._keeper: LeaseKeeper | None = None
        self._steps: StepRunner | None = None
        self._watcher: DrainWatcher | None = None
        self._drivers: list[Driver] = []
        self._remove_guards: Callable[[], None] | None = None

    @outside
    async def serve(self) -> None:
        """Run workflows until SIGTERM or SIGINT; leaving the block then drains. `UsageError` off the main thread."""
        stopped = asyncio.Event()
        with called_when_told_to_end(asyncio.get_running_loop(), stopped.set):
            await stopped.wait()

    # -- opening and closing -----------------------------------------------------------------------------------------

    async def _begin(self, shell: Shell) -> None:  # long: all that an engine is made of
        loop = asyncio.get_running_loop()
        name = f"worker-{self.host.token()[:16]}"
        build = current_build(self._known().values(), self.codec)
        environment = Environment(
            codec=self.codec,
            may_import=self.may_import,
            everlog=VERSION,
            python=platform.python_version(),
            build=build,
            worker=name,
            run_strand=self.host.run_aside,
        )
        self.host.limit_threads(self._step_threads)
        offset = shell.store.now() - self.host.wall()
        steps = self._steps = self._runner(shell, loop, lambda: self.host.wall() + offset)
        steps.post, steps.client = self.send, self
        steps.transactions = Transactions(shell.store, self.codec, partial(_wait_by, loop), self.using)
        queues = None if self._queues is None else [name_of(queue) for queue in self._queues]
        settings = WorkerSettings(
            worker=name, build=build, concurrency=self._concurrency, workflows=self._known, queues=queues
        )
        for queue in self._declared():
            shell.book.declare_later(queue)
        parts = (settings, environment, shell.store, self.host, shell.committer, steps, shell.ended, shell.book)
        worker = ObservedWorker(*parts, observers=self._observers)
        shell.committer.write = measured(shell.committer.write, self.host, worker.tally)
        worker.outputs.on_written = shell.readers.wrote
        worker.outputs.on_output = shell.step_published
        shell.worker = worker
        declarations = Declarations(shell.store, self.host, self._known, self.codec)
        await self._in_thread(declarations.write)
        if isinstance(shell.store, SupportsSchedules):
            shell.ticker = Ticker(shell.store, self.host, worker)
        await self._keep_lease(shell, worker, declarations)
        self._begin_pruning(shell)
        self._remove_guards = install_guards(self._guards)

    def _runner(self, shell: Shell, loop: asyncio.AbstractEventLoop, clock: Callable[[], int]) -> StepRunner:
        if not self._observers:
            return StepRunner(self.host, loop, self.codec, clock, shell.step_ended)
        self._observers.tell(Observer.opened, self.host, shell.store)
        return ObservedSteps(self.host, loop, self.codec, clock, shell.step_ended, self._observers)

    def _begin_pruning(self, shell: Shell) -> None:
        if self._retainer.has_rules():
            retaining(shell.store)  # which raises where nothing can be pruned
            self._pruning = asyncio.create_task(self._retainer.run(), name="everlog pruning")

    async def _keep_lease(self, shell: Shell, worker: Worker, declarations: Declarations) -> None:
        self._keeper = LeaseKeeper(
            shell.store,
            self.host,
            worker=worker.settings.worker,
            lease=self._lease,
            silence=shell.silence,
            on_lease=lambda held: shell.submit(partial(_set_lease, worker, held)),
            on_retired=lambda new: shell.submit(partial(_renamed, shell, worker, new)),
            on_freed=lambda: shell.submit(worker.look_everywhere),
        )
        strangers = Strangers(shell.store, self.host, self._known)
        self._keeper.on_round = lambda: shell.submit(partial(_look_for_strangers, shell, strangers, declarations))
        worker.holds_lease = self._keeper.holds
        await self._in_thread(self._keeper.register)
        self._watcher = DrainWatcher(
            monotonic=self.host.monotonic, lease=self._lease, thread=shell.thread, silence=shell.silence
        )
        self._drivers = [
            self.host.drive("everlog-lease", self._keeper),
            self.host.drive("everlog-watch", self._watcher),
        ]

    async def _end(self, shell: Shell) -> None:
        worker = shell.worker
        if self._pruning is not None:
            self._pruning.cancel()
            await asyncio.wait([self._pruning])
        try:
            if worker is not None:
                shell.submit(worker.drain)
                await self._until_empty(worker, self._grace)
                if worker.residents:
                    shell.submit(lambda: worker.hand_back_all(shell.store.now()))
                    await self._until_empty(worker, self._patience(shell))
        finally:
            if self._remove_guards is not None:
                self._remove_guards()
            shell.submit(partial(self._retire, shell))
        try:
            async with asyncio.timeout(max(1.0, self._patience(shell))):
                await super()._end(shell)
        except TimeoutError:
            await self._leave_behind(shell)

    def _patience(self, shell: Shell) -> float:
        """Give the seconds that the engine's thread still has to answer: it may be interrupted after half a lease."""
        return max(CLOSING, self._lease / SECOND * 3 / 4) - shell.silence()

    async def _leave_behind(self, shell: Shell) -> None:
        """Close without the engine's thread, which does not return. Its lease is given up for it, so that all that it
        holds is free; should it return, it can write nothing any more, and ends."""
        where = self._watcher.where() if self._watcher is not None else ""
        log.error(
            "the engine is closed without its thread, which has been busy for %.0f s%s; what it held is free",
            shell.silence(),
            where and f" with {where}",
        )
        self._stop_drivers()
        if self._steps is not None:
            self._steps.close()
        try:
            async with asyncio.timeout(CLOSING):
                await self._in_thread(self._give_up_lease)
        except TimeoutError:
            log.warning("the database does not answer, so that the lease runs out by itself")

    def _retire(self, shell: Shell) -> None:
        """On the engine's thread: give up the lease, and with it all that is still held."""
        if shell.worker is not None:
            shell.worker.let_all_go()
        if self._steps is not None:
            self._steps.close()
        self._stop_drivers()
        self._give_up_lease()

    def _give_up_lease(self) -> None:
        if self._keeper is not None:
            try:
                self._keeper.retire()
            except StoreError as error:
                log.warning("the lease could not be given up, it runs out by itself: %s", error)

    def _stop_drivers(self) -> None:
        for driver in self._drivers:
            driver.stop()

    async def _until_empty(self, worker: Worker, seconds: float) -> None:
        until = self.host.monotonic() + seconds
        while worker.residents and self.host.monotonic() < until:  # noqa: ASYNC110 - it is emptied on another thread
            await asyncio.sleep(0.005)

    def _declared(self) -> Iterator[Queue]:
        """Give the queues that the code of this engine declares."""
        of_workflows = [definition.placing.queue for definition in self._known().values()]
        yield from (queue for queue in [*of_workflows, *(self._queues or ())] if isinstance(queue, Queue))

    def _known(self) -> Mapping[str, AnyWorkflow[..., Any]]:
        if self._workflows is not None:
            return runnable(self._workflows)
        return WithSteps(runnable(registered_workflows()))


def _checked(one: Definition[..., Any]) -> AnyWorkflow[..., Any]:
    # Users without a type checker give anything.
    definition: Definition[..., Any] = unwrapped(one)
    if isinstance(definition, AnyStep):
        return alone(definition)
    if not isinstance(definition, AnyWorkflow):
        raise UsageError(f"workflows= takes workflows, got {one!r}; decorate the function with @workflow")
    if not definition.is_here:
        raise UsageError(f"workflows= takes workflows whose code is here, and {definition.name!r} is only named")
    return hosted(definition)


def _wait_by(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    """Wait in another thread than the loop's."""
    asyncio.run_coroutine_threadsafe(asyncio.sleep(seconds), loop).result()


def _set_lease(worker: Worker, held: bool) -> None:
    if not held:
        log.warning("worker %s is past its lease: it starts nothing until it has renewed it", worker.settings.worker)
    worker.may_start = held
    if held:
        worker.look_everywhere()
    worker.wake_all()


def _renamed(shell: Shell, worker: Worker, name: str) -> None:
    worker.let_all_go()
    # What was taken under the old name since it was retired: nobody else would ever look for it.
    shell.retire(worker.settings.worker)
    worker.settings = msgspec.structs.replace(worker.settings, worker=name)
    worker.environment = msgspec.structs.replace(worker.environment, worker=name)
    worker.may_start = True
    worker.look_everywhere()


def _look_for_strangers(shell: Shell, strangers: Strangers, declarations: Declarations) -> None:
    with suppress(StoreError):  # looked for again when the store can be used
        strangers.look()
        try:
            if declarations.write() and shell.ticker is not None:
                shell.ticker.look_around()
        except UsageError as error:
            log.error("a schedule that was declared while this engine runs cannot be kept: %s", error)


install_handles()
