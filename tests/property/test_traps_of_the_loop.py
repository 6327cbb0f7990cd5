"""The traps of the deterministic loop, one by one. Each test fails for the naive way of doing it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anyio
import pytest

import everlog
from everlog import Engine, WorkflowFailed, WrongContext, step, workflow
from everlog.core import events
from everlog.core.codec import JsonCodec
from everlog.core.event_codec import decode_event
from everlog.core.events import AnyEvent
from everlog.core.heads import InboxRow
from everlog.memory import MemoryStore
from everlog.replay.drafting import draft
from everlog.replay.environment import Environment, StepEnd
from everlog.replay.execution import Execution
from everlog.replay.inbox import Inbox
from everlog.testing.simulation import SimulatedHost
from tests.property.recording import Replayer, history

MONDAY = 1_700_000_000_000_000
SECOND = 1_000_000
HOUR = 3600 * SECOND


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    made = Replayer(2, modules=[__name__])
    yield made
    made.close()


class Driven:
    """A workflow in memory whose rows and time are in the test's hand."""

    def __init__(
        self, definition: Any, *, created_at: int = MONDAY, began_at: int = MONDAY, seed: str = "seed"
    ) -> None:
        payload = definition.signature.encode(JsonCodec(), (), {}, what="input")
        self.definition = definition
        self.created = events.WorkflowCreated(name=definition.name, input=events.Raw(payload), seed=seed)
        self.rows: list[tuple[int, int, AnyEvent]] = []
        self.execution = self.fresh()
        self.apply(created_at, [self.created])
        self.apply(began_at, [events.WorkflowBegan(format=1, everlog="", python="", build="", worker="")])

    def fresh(self) -> Execution:
        environment = Environment(codec=JsonCodec(), may_import=lambda package: True)
        return Execution("driven", self.created, self.definition, environment)

    def apply(self, at: int, rows: Sequence[AnyEvent]) -> None:
        for row in rows:
            self.rows.append((len(self.rows) + 1, at, row))
            self.execution.now = at
            self.execution.apply(*self.rows[-1])

    def commit(self, at: int, *inbox: InboxRow, settle: bool = False) -> list[AnyEvent]:
        """Write and apply the next commit; give its rows."""
        drafted = draft(self.execution, at, Inbox(inbox), settle=settle)
        assert drafted is not None
        self.apply(drafted.recorded_at, drafted.rows)
        return drafted.rows

    def end_steps(self, *names: str) -> None:
        """Have these steps return, in this order."""
        for name in names:
            self.execution.ended_steps.append((self.execution.steps[name], StepEnd(started_at=MONDAY, result=b"1")))

    def result(self) -> Any:
        """Give the result, once the replay of all rows by another execution has had the same."""
        end = self.execution.outcome
        assert isinstance(end, events.WorkflowCompleted), end
        again = self.fresh()
        again.replay(self.rows)
        assert again.outcome == end
        return JsonCodec().decode(bytes(end.result), Any, what="result")


def message(at: int, *, row: int = 1, topic: str = "decision") -> InboxRow:
    return InboxRow(
        row=row,
        destination="driven",
        source="somebody",
        number=row,
        topic=topic,
        payload=b'"yes"',
        control=False,
        arrived_at=at,
    )


def run(*definitions: Any, during: Callable[[Engine], Any] | None = None) -> tuple[list[Any], list[dict[str, Any]]]:
    """Run workflows at once on a simulated host; give their results or errors, and their histories."""
    host = SimulatedHost(seed=1)
    store = MemoryStore(clock=host.wall)

    async def main() -> list[Any]:
        async with Engine(store, host=host, guards="off") as engine:
            handles = [await engine.start(one.options(id=one.name)) for one in definitions]
            if during is not None:
                await during(engine)
            return await asyncio.gather(*[handle.result(timeout=60) for handle in handles], return_exceptions=True)

    return host.run(main()), [history(store, one.name) for one in definitions]


def operations(recorded: dict[str, Any], kind: type[Any]) -> list[str]:
    """Give the identities in the rows of one kind."""
    rows = [decode_event(row[2].encode()) for row in recorded["rows"]]
    return [row.operation for row in rows if isinstance(row, kind)]


@step
async def charge(cents: int) -> int:
    await asyncio.sleep(0.5)
    return cents


# -- what was cancelled and completes all the same ---------------------------------------------------------------------


@workflow(name="first of two")
async def first_of_two() -> list[int]:
    tasks = [asyncio.create_task(charge(number), name=f"t{number}") for number in (1, 2)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await everlog.recv("decision")
    return [len(done), len(pending)]


def test_a_completion_of_what_the_fact_before_it_cancelled_is_consumed_silently() -> None:
    driven = Driven(first_of_two)
    driven.end_steps("charge", "charge#2")
    rows = driven.commit(MONDAY + SECOND)
    assert [type(row) for row in rows] == [events.StepCompleted, events.StepCompleted]
    driven.commit(MONDAY + 2 * SECOND, message(MONDAY + 2 * SECOND))
    driven.commit(MONDAY + 2 * SECOND)
    assert driven.result() == [1, 1]


# -- drains end --------------------------------------------------------------------------------------------------------


@workflow(name="clean up under anyio")
async def clean_up_under_anyio() -> list[Any]:
    cleaned = []

    async def child() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            cleaned.append(await charge(7))

    with anyio.move_on_after(10) as scope:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
    return [cleaned, scope.cancelled_caught]


def test_durable_clean_up_in_a_task_group_under_anyio_ends(replayer: Replayer) -> None:
    results, histories = run(clean_up_under_anyio)
    assert results == [[[7], True]]
    replayer.check(histories * 4)


@workflow(name="polling")
async def polling() -> list[Any]:
    flag: list[int] = []

    async def other() -> None:
        flag.append(await charge(5))

    task = asyncio.create_task(other())
    rounds = 0
    while not flag:
        rounds += 1
        await asyncio.sleep(0)
    await task
    return [flag, rounds > 1]


@workflow(name="polling by callbacks")
async def polling_by_callbacks() -> list[Any]:
    looks: list[None] = []
    task = asyncio.create_task(charge(5))
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def look() -> None:
        looks.append(None)
        if task.done():
            ended.set_result(task.result())
        else:
            asyncio.get_running_loop().call_soon(lambda: look())

    look()
    return [await ended, len(looks) < 10_000]


@workflow(name="taking turns")
async def taking_turns() -> int:
    """Two tasks that wake each other in turn: the same callbacks come back in every second round only."""
    task = asyncio.create_task(charge(5))
    turns = [asyncio.Event(), asyncio.Event()]

    async def player(mine: int) -> None:
        while not task.done():
            await turns[mine].wait()
            turns[mine].clear()
            turns[1 - mine].set()

    players = [asyncio.create_task(player(mine)) for mine in (0, 1)]
    turns[0].set()
    value = await task
    for one in players:
        one.cancel()
    return value


@pytest.mark.parametrize(
    ("definition", "result"), [(polling, [[5], True]), (polling_by_callbacks, [5, True]), (taking_turns, 5)], ids=str
)
def test_code_that_polls_waits_for_the_next_fact(replayer: Replayer, definition: Any, result: Any) -> None:
    results, histories = run(definition)
    assert results == [result]
    replayer.check(histories * 4)


@workflow(name="long without operations")
async def long_without_operations() -> list[int]:
    queue: asyncio.Queue[int] = asyncio.Queue(1)

    async def consume() -> int:
        total = 0
        for _ in range(5000):
            total += await queue.get()
        return total

    consumer = asyncio.create_task(consume())
    for number in range(5000):
        await queue.put(number)
    for _ in range(5000):
        await asyncio.sleep(0)
    return [await consumer]


def test_a_long_computation_is_not_taken_for_polling_while_nothing_can_come(replayer: Replayer) -> None:
    results, histories = run(long_without_operations)
    assert results == [[sum(range(5000))]]
    replayer.check(histories)


# -- nothing goes by memory address, nothing comes from outside --------------------------------------------------------


@workflow(name="eight in scopes")
async def eight_in_scopes() -> list[int]:
    order: list[int] = []

    async def child(number: int) -> None:
        with anyio.move_on_after(100):
            try:
                await anyio.sleep_forever()
            finally:
                order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(child, number)
        await charge(1)
        group.cancel_scope.cancel()
    return order


def test_anyio_cancels_nested_scopes_in_the_order_of_their_creation(replayer: Replayer) -> None:
    results, histories = run(eight_in_scopes)
    assert results == [[0, 1, 2, 3, 4, 5, 6, 7]]
    replayer.check(histories * 10)


@workflow(name="all tasks")
async def all_tasks() -> list[Any]:
    mine = [asyncio.create_task(everlog.recv("never"), name=f"{number}") for number in range(300)]
    await asyncio.sleep(0)
    for number, task in enumerate(mine):
        if number % 32:  # those that are left meet in one place of a set, where the one that came first goes first
            task.cancel()
    await charge(1)
    everyone = [task.get_name() for task in asyncio.all_tasks()]
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    return everyone


def test_all_tasks_are_those_of_the_workflow_in_one_order(replayer: Replayer) -> None:
    others = [Driven(all_tasks, seed=str(number)) for number in range(20)]
    results, histories = run(all_tasks)
    for driven in others:
        driven.execution.tear_down()
    assert set(results[0]) == {"all tasks", *[str(number) for number in range(0, 300, 32)]}
    replayer.check(histories)


def test_a_thousand_workflows_make_a_task_as_quickly_as_one() -> None:
    """Python holds the tasks of all loops in one set; they must not all have the same few hashes there."""
    many = [Driven(first_of_two, seed=str(number)) for number in range(1000)]
    hashes = {hash(driven.execution.main) for driven in many}
    assert len(hashes) == 1000
    for driven in many:
        driven.execution.tear_down()


shared: list[asyncio.Event] = []


@workflow(name="waits for what is shared")
async def waits_for_what_is_shared() -> None:
    shared.append(asyncio.Event())
    await shared[0].wait()


@workflow(name="sets what is shared")
async def sets_what_is_shared() -> None:
    shared[0].set()


def test_a_primitive_shared_by_two_workflows_is_an_error_that_names_both_sides() -> None:
    shared.clear()
    host = SimulatedHost(seed=1)

    async def main() -> tuple[BaseException | None, str]:
        async with Engine(MemoryStore(clock=host.wall), host=host, guards="off") as engine:
            waiting = await engine.start(waits_for_what_is_shared.options(id="waits"))
            with pytest.raises(WorkflowFailed) as failed:
                await engine.run(sets_what_is_shared.options(id="sets"))
            await waiting.cancel()
            await asyncio.sleep(1)
            status = await waiting.status()
            return failed.value.__cause__, f"{status.state}: {status.error}"

    cause, other = host.run(main())
    assert isinstance(cause, WrongContext)
    assert "'waits' was to be woken" in str(cause)
    assert other.startswith("stuck: ")
    assert "'waits' was to be woken" in other


colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


@workflow(name="sees no context")
async def sees_no_context() -> list[str]:
    seen = [colour.get()]
    asyncio.get_running_loop().call_later(1, lambda: seen.append(colour.get()))
    task = asyncio.create_task(charge(1))
    task.add_done_callback(lambda done: seen.append(colour.get()))
    await asyncio.gather(task, asyncio.sleep(2))
    return seen


def test_the_context_of_whoever_drives_the_engine_is_not_seen() -> None:
    def program() -> Any:
        colour.set("red")
        return run(sees_no_context)[0]

    assert contextvars.copy_context().run(program) == [["none", "none", "none"]]


@workflow(name="never retrieved")
async def never_retrieved() -> list[str]:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["message"]))

    async def fail() -> None:
        raise ValueError

    for _ in range(3):
        tasks = [asyncio.create_task(fail()) for _ in range(100)]
        await asyncio.wait(tasks)
        del tasks
        gc.collect()
    return told


def test_the_collector_calls_nothing_in_a_workflow() -> None:
    assert run(never_retrieved)[0] == [[]]


# -- one behaviour under every Python ----------------------------------------------------------------------------------


@workflow(name="gathers what is done")
async def gathers_what_is_done() -> list[str]:
    order: list[str] = []

    async def other() -> None:
        order.append("other")

    done = asyncio.create_task(asyncio.sleep(0))
    await done
    task = asyncio.create_task(other())
    await asyncio.gather(done, done)
    order.append("gathered")
    await task
    return order


@workflow(name="passes a notification on")
async def passes_a_notification_on() -> list[str]:
    woken: list[str] = []
    condition = asyncio.Condition()

    async def wait(name: str) -> None:
        async with condition:
            await condition.wait()
            woken.append(name)

    tasks = [asyncio.create_task(wait(name)) for name in ("first", "second")]
    await asyncio.sleep(0)
    async with condition:
        condition.notify()
        tasks[0].cancel()
    await asyncio.wait(tasks, timeout=1)
    for task in tasks:
        task.cancel()
    return woken


@workflow(name="keeps a cancellation")
async def keeps_a_cancellation() -> list[Any]:
    seen: list[Any] = []

    async def fail() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise ValueError

    async def grouped() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
        except* ValueError:
            task = asyncio.current_task()
            seen.append(task.cancelling() if task else None)
        await asyncio.sleep(1)
        seen.append("slept")

    task = asyncio.create_task(grouped())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    return [*seen, task.cancelled()]


@workflow(name="takes turns")
async def takes_turns() -> list[int]:
    order: list[int] = []
    semaphore = asyncio.Semaphore(1)

    async def turn(number: int) -> None:
        async with semaphore:
            order.append(number)

    async with semaphore:
        tasks = [asyncio.create_task(turn(number)) for number in range(4)]
        await asyncio.sleep(0)
    tasks[0].cancel()
    semaphore.release()
    await asyncio.wait(tasks)
    return order


@pytest.mark.parametrize(
    ("definition", "result"),
    [
        (gathers_what_is_done, ["gathered", "other"]),
        (passes_a_notification_on, ["second"]),
        (keeps_a_cancellation, [1, True]),
        (takes_turns, [1, 2, 3]),
    ],
    ids=str,
)
def test_asyncio_does_under_every_python_what_it_does_since_3_13(
    replayer: Replayer, definition: Any, result: Any
) -> None:
    results, histories = run(definition)
    assert results == [result]
    replayer.check(histories * 2)


# -- the names of operations -------------------------------------------------------------------------------------------


@workflow(name="wait for")
async def waits_for() -> int:
    async def branch() -> int:
        return await charge(1)

    return await asyncio.wait_for(branch(), 30)


def test_wait_for_opens_no_branch_in_any_version(replayer: Replayer) -> None:
    _, histories = run(waits_for)
    assert operations(histories[0], events.StepCompleted) == ["charge"]
    replayer.check(histories)


@workflow(name="callbacks")
async def callbacks() -> int:
    started: list[asyncio.Task[int]] = []

    async def ship() -> int:
        inner = asyncio.create_task(charge(1), name="inner")
        inner.add_done_callback(lambda done: started.append(asyncio.create_task(charge(2), name="after")))
        return await inner

    await asyncio.create_task(ship(), name="outer")
    asyncio.get_running_loop().call_later(1, lambda: started.append(asyncio.create_task(charge(3), name="later")))
    await asyncio.sleep(2)
    return sum([await task for task in started])


def test_what_a_callback_begins_is_named_after_the_task_that_registered_it(replayer: Replayer) -> None:
    results, histories = run(callbacks)
    assert results == [5]
    assert operations(histories[0], events.StepCompleted) == [
        "outer/charge",
        "outer/charge#2",
        "charge",
    ]
    replayer.check(histories)


def branches(extra: bool) -> Any:
    @workflow(name=f"branches {extra}")
    async def several() -> None:
        async def first() -> None:
            if extra:
                await charge(0)
            await charge(1)

        async def second() -> None:
            await charge(2)
            await asyncio.create_task(third())

        async def third() -> None:
            await charge(3)

        async with asyncio.TaskGroup() as group:
            group.create_task(first())
            group.create_task(second(), name="mine")
            group.create_task(second())

    return several


def test_a_further_step_in_one_branch_renames_nothing_in_another() -> None:
    before, after = [
        operations(recorded, events.StepCompleted) for recorded in run(branches(extra=False), branches(extra=True))[1]
    ]
    assert sorted(before) == [
        "first/charge",
        "mine/charge",
        "mine/third/charge",
        "second/charge",
        "second/third/charge",
    ]
    assert set(after) == {*before, "first/charge#2"}


# -- time --------------------------------------------------------------------------------------------------------------


@workflow(name="decision")
async def decision() -> list[Any]:
    try:
        return [await everlog.recv("decision", timeout=3600), everlog.now().timestamp()]
    except TimeoutError:
        return ["too late", everlog.now().timestamp()]


@pytest.mark.parametrize(("arrived", "expected"), [(HOUR // 2, "yes"), (HOUR, "yes"), (HOUR + 1, "too late")])
def test_a_message_that_came_in_time_beats_the_timer_however_late_both_are_seen(arrived: int, expected: str) -> None:
    driven = Driven(decision)
    rows = driven.commit(MONDAY + 5 * HOUR, message(MONDAY + arrived))
    assert len(rows) == 1
    driven.commit(MONDAY + 5 * HOUR)
    assert driven.result() == [expected, (MONDAY + 5 * HOUR) / SECOND]


@workflow(name="timers")
async def timers() -> list[str]:
    order: list[str] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(name)

    await asyncio.gather(wait("c", 2), wait("a", 1), wait("b", 1), wait("d", 2))
    return order


def test_timers_that_are_due_together_fire_by_due_time_and_then_by_creation() -> None:
    driven = Driven(timers)
    rows = driven.commit(MONDAY + HOUR)
    assert all(isinstance(row, events.TimerFired) for row in rows)
    driven.commit(MONDAY + HOUR)
    assert driven.result() == ["a", "b", "c", "d"]


@workflow(name="limited")
async def limited() -> list[Any]:
    began = everlog.now().timestamp()
    async with asyncio.timeout(3600):
        await charge(1)
    return [began, everlog.now().timestamp()]


def test_time_begins_when_the_workflow_was_claimed_not_when_it_was_created() -> None:
    tuesday = MONDAY + 24 * HOUR
    driven = Driven(limited, created_at=MONDAY, began_at=tuesday)
    driven.end_steps("charge")
    driven.commit(tuesday + HOUR // 2)
    driven.commit(tuesday + HOUR // 2)
    assert driven.result() == [tuesday / SECOND, (tuesday + HOUR // 2) / SECOND]


@workflow(name="clock")
async def clock() -> list[float]:
    loop = asyncio.get_running_loop()
    times = [loop.time()]
    for _ in range(3):
        await charge(1)
        times.append(loop.time())
    return times


def test_time_never_goes_back() -> None:
    driven = Driven(clock)
    for name, at in (("charge", 60), ("charge#2", -3600), ("charge#3", 30)):
        driven.end_steps(name)
        driven.commit(MONDAY + at * SECOND)
    driven.commit(MONDAY)
    assert [time - MONDAY / SECOND for time in driven.result()] == [0, 60, 60, 60]
    assert [at for _, at, _ in driven.rows] == sorted(at for _, at, _ in driven.rows)
