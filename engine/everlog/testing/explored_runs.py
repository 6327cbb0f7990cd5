"""Explored runs: a workflow lived once from start to end in virtual time, through crashes. It judges nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any, Final, Literal, final

from everlog.core.durations import SECOND
from everlog.core.event_codec import decode_event
from everlog.core.events import StepCompleted, StepFailed
from everlog.core.log_lines import Exported
from everlog.core.rewinding import Lived, since_continued
from everlog.errors import WorkflowCancelled, WorkflowFailed
from everlog.memory import MemoryStore
from everlog.replay.definition import Definition
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.environment import StepEnd
from everlog.replay.execution import Execution
from everlog.replay.queues import Queue
from everlog.runtime.client import Client
from everlog.runtime.engine import Engine
from everlog.runtime.handles import Handle
from everlog.runtime.steps import Dispatch
from everlog.store import Head, WorkflowQuery
from everlog.testing.attempts import attempts_watched
from everlog.testing.disturbances import Choices, Disturbance, When, name_of_attempt
from everlog.testing.faults import Fault, FaultyStore
from everlog.testing.simulation import EPOCH, Deadlock, SimulatedHost
from everlog.testing.virtual import LEASE, LONGEST

Drive = Callable[[Client, Handle[Any]], Awaitable[object]]
Program = Callable[..., Awaitable[object]]
LEFT: Final = 30 * 86_400.0
"""Seconds of virtual time that workflows have to end which the one that is explored has left behind."""
ALL: Final = WorkflowQuery(newest_first=False, limit=100_000)
SHOWN: Final = 60
"""Characters of the input of a step."""


@final
class ExploredRun:
    """One run of what is explored, from its start to its end: what an invariant looks at."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self.result: Any = None
        """What the workflow returned; None where it raised."""
        self.error: BaseException | None = None
        """What the workflow raised, or its `WorkflowCancelled`; None where it returned."""
        self.disturbance = Disturbance()
        self.steps: list[tuple[str, str]] = []
        """The name of the step and the id of the workflow, for each attempt that began; repeats after a crash too."""
        self.histories: dict[str, Exported] = {}
        """By the ids of the workflows: of all that came of it."""
        self.states: dict[str, str] = {}
        """In which each of them is at the end, by its id."""
        self.happened: list[str] = []
        """What happened, one line each."""
        self.commits = 0
        """How often the process that came to the end has committed."""
        self.stuck: Head | None = None
        self.endless = False
        self.never_awaited: list[str] = []
        self.repeated: list[str] = []

    def times(self, step: Definition[..., Any] | str) -> int:
        """Give how many attempts of a step began; one that a crash took the outcome of begins again."""
        name = step if isinstance(step, str) else step.name
        return sum(began == name for began, _ in self.steps)


class _MortalStore(FaultyStore):
    """A store whose crash is heard of, wherever it was raised."""

    def __init__(self, store: MemoryStore, die: Callable[[], None], *faults: Fault) -> None:
        super().__init__(store, *faults)
        self._die = die
        self._memory = store

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Pass on: who has to ask all the time would do so through all of the virtual time."""
        return self._memory.subscribe(wake)

    def _fail(self, when: Literal["before", "after"], *, commit: int = 0, admit: int = 0) -> None:
        try:
            super()._fail(when, commit=commit, admit=admit)
        finally:
            if self.crashed:
                self._die()


class _Process(SimulatedHost):
    """A host whose death can be waited for, and whose names and tokens are its own."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop | None = None) -> None:
        super().__init__(number, loop=loop)
        self.number = number
        self.dead = asyncio.Event()

    def crash(self) -> None:
        super().crash()
        self.dead.set()


class Living:
    """One run that is being lived."""

    def __init__(
        self,
        explored: AnyWorkflow[..., Any] | Program,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        workflows: Iterable[AnyWorkflow[..., Any]],
        queues: Sequence[Queue | str] | None,
        drive: Drive | None,
        crashes: tuple[tuple[int, When], ...],
        choices: Choices,
    ) -> None:
        self.run = ExploredRun(args, kwargs)
        self._explored: Any = explored
        self._is_workflow = isinstance(explored, AnyWorkflow)
        self._workflows = list(workflows)
        self._queues = queues
        self._drive = drive
        self._crashes = crashes
        self._choices = choices
        self._outside = _Process(0)
        self._store = MemoryStore(clock=self._outside.wall)
        self._tasks: set[asyncio.Task[Any]] = set()
        """Those of attempts that the living process runs."""
        self._ended: set[tuple[str, int, str]] = set()
        """What was recorded as ended when a process died: workflow, the seq at which its life began, operation."""
        self._main: str = ""

    def live(self) -> ExploredRun:
        """Live it. What the user's own code outside of workflows raises is raised here."""
        random.seed(0)
        copy_context().run(self._live)
        self._read()
        return self.run

    def _live(self) -> None:
        with attempts_watched(self), _never_awaited(self.run.never_awaited):
            try:
                self._outside.run(self._through_crashes())
            except Deadlock:
                self.run.endless = True

    # -- seeing attempts -----------------------------------------------------------------------------------------------

    def delay(self, dispatch: Dispatch) -> float:
        """Have an attempt begin late."""
        return self._choices.delay(self._name(dispatch))

    def begins(self, dispatch: Dispatch, task: asyncio.Task[Any] | None) -> Exception | None:
        """Take note of an attempt, and have it fail where that was chosen."""
        name, step = self._name(dispatch), dispatch.operation.definition.name
        if task is not None:
            self._tasks.add(task)
        execution = dispatch.resident.execution
        if (execution.workflow_id, execution.first_seq, dispatch.operation.identity) in self._ended:
            self.run.repeated.append(name)
        self.run.steps.append((step, execution.workflow_id))
        self._tell(f"step {name} begins with {_short(dispatch.operation.input)}")
        return self._choices.failure(name, step)

    def ends(self, dispatch: Dispatch, end: StepEnd | None) -> None:
        """Take note of how an attempt ended."""
        if end is None:
            return
        what = "ends" if end.failure is None else f"raises {end.failure.type.rpartition(':')[2]}: {end.failure.message}"
        self._tell(f"step {self._name(dispatch)} {what}")

    def _name(self, dispatch: Dispatch) -> str:
        return name_of_attempt(dispatch.resident.workflow_id, dispatch.operation, self._main)

    def _tell(self, what: str) -> None:
        seconds = (self._outside.wall() - EPOCH) / SECOND
        self.run.happened.append(f"{seconds:>12.3f} s  {what}")

    # -- living --------------------------------------------------------------------------------------------------------

    async def _through_crashes(self) -> None:
        unsubscribe = self._store.subscribe(self._look_for_stuck)
        self._stuck = asyncio.Event()
        try:
            async with asyncio.timeout(LONGEST):
                async with Client(self._store, host=self._outside) as client:
                    ending = asyncio.create_task(self._to_the_end(client))
                    stuck = asyncio.create_task(self._stuck.wait())
                    try:
                        await self._processes(ending, stuck)
                    finally:
                        for task in (ending, stuck):
                            task.cancel()
                        await asyncio.wait([ending, stuck])
                    if ending.done() and not ending.cancelled():
                        ending.result()
        except TimeoutError:
            self.run.endless = True
        finally:
            unsubscribe()

    async def _processes(self, *ends: asyncio.Task[Any]) -> None:
        """Run one process after the other until one lives to see the end."""
        faults = [Fault(commit=number, when=when, kind="crash") for number, when in self._crashes]
        for number, fault in enumerate([*faults, None], start=1):
            host = _Process(number, self._outside.loop)
            store = _MortalStore(self._store, host.crash, *([] if fault is None else [fault]))
            if await self._is_outlived(host, store, ends):
                self.run.commits = store.commits
                return
            if fault is None or not store.crashed:
                raise host.failure or RuntimeError("the simulated process died by itself")
            self._tell(f"the process dies {fault.when} its commit {fault.commit}, and another one goes on")
            self.run.disturbance = Disturbance(crashes=self._crashes[:number])

    async def _is_outlived(self, host: _Process, store: _MortalStore, ends: Sequence[asyncio.Task[Any]]) -> bool:
        """Be one process; tell whether it saw an end, rather than died."""
        engine: Any = Engine(  # its inner parts are taken down as by a crash
            store, host=host, lease=LEASE, guards="raise", workflows=self._workflows, queues=self._queues
        )
        opening = asyncio.create_task(engine.__aenter__())
        dead = asyncio.create_task(host.dead.wait())
        try:
            await asyncio.wait([opening, dead], return_when=asyncio.FIRST_COMPLETED)
            if not host.crashed:
                opening.result()
                await asyncio.wait([*ends, dead], return_when=asyncio.FIRST_COMPLETED)
            if not host.crashed:
                await engine.__aexit__(None, None, None)
                return True
            return False
        finally:
            dead.cancel()
            if engine._shell is not None or not opening.done():
                host.crash()
                await self._bury(engine, opening)

    async def _bury(self, engine: Any, opening: asyncio.Task[Any]) -> None:
        """End what a process left in this one, and have the next one take over at once."""
        for head in self._store.workflows(ALL):
            rows = [(row.seq, row.recorded_at, decode_event(row.payload)) for row in self._store.read(head.workflow_id)]
            life = since_continued(rows)
            ended = (event for _, _, event in Lived(life).rows if isinstance(event, StepCompleted | StepFailed))
            self._ended.update((head.workflow_id, life[0][0], event.operation) for event in ended)
        for task in [opening, *self._tasks]:
            task.cancel()
        self._tasks.clear()
        await asyncio.sleep(0)
        worker = engine._shell.worker if engine._shell is not None else None
        if worker is not None:
            worker.let_all_go()
        if engine._remove_guards is not None:
            engine._remove_guards()
        for row in self._store.workers():
            self._store.retire(row.worker)

    async def _to_the_end(self, client: Client) -> None:
        """From outside, where nothing dies: start it, drive it, and wait for it and all that came of it."""
        if self._is_workflow:
            definition = self._explored if self._explored.id else self._explored.options(id=self._explored.name)
            self._main = definition.id
            self._tell(f"{self._explored.name} starts")
            handle: Handle[Any] = await client.start(definition, *self.run.args, **self.run.kwargs)
            driving = [] if self._drive is None else [self._drive(client, handle)]
            await asyncio.gather(self._outcome(handle.result()), *driving)
        else:
            await self._outcome(self._explored(client, *self.run.args, **self.run.kwargs))
        with suppress(TimeoutError):
            async with asyncio.timeout(LEFT):
                for head in self._store.workflows(ALL):
                    with suppress(WorkflowFailed, WorkflowCancelled):
                        await client.handle(head.workflow_id).result()

    async def _outcome(self, result: Awaitable[Any]) -> None:
        try:
            self.run.result = await result
            self._tell("it returns")
        except WorkflowFailed as failed:
            self.run.error = failed.__cause__ or failed
            self._tell(f"it raises {type(self.run.error).__name__}: {self.run.error}")
        except WorkflowCancelled as cancelled:
            self.run.error = cancelled
            self._tell("it is cancelled")

    def _look_for_stuck(self) -> None:
        for head in self._store.workflows(ALL):
            if head.state == "stuck" and self.run.stuck is None:
                self.run.stuck = head
                self._stuck.set()

    def _read(self) -> None:
        for head in self._store.workflows(ALL):
            rows = [(row.seq, row.recorded_at, row.payload) for row in self._store.read(head.workflow_id)]
            self.run.histories[head.workflow_id] = Exported(workflow_id=head.workflow_id, name=head.name, rows=rows)
            self.run.states[head.workflow_id] = head.state
        self.run.disturbance = Disturbance(
            crashes=self.run.disturbance.crashes, slow=dict(self._choices.slow), failing=dict(self._choices.failing)
        )


@contextmanager
def _never_awaited(found: list[str]) -> Generator[None]:
    """Take note of the operations that code called and never awaited."""
    executions: Any = Execution
    original = executions.report_never_awaited

    def report(execution: Execution) -> None:
        if not execution.torn_down:
            found.extend(f"{one.describe()} at {one.place()}" for one in execution.called.values())
        original(execution)

    executions.report_never_awaited = report
    try:
        yield
    finally:
        executions.report_never_awaited = original


def _short(payload: bytes) -> str:
    text = bytes(payload).decode(errors="replace")
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
