"""Blocking workflow code: plain functions as workflows, and what `everlog.sync` gives them."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import everlog
from everlog import (
    Engine,
    InvalidDefinition,
    NondeterminismWarning,
    RetryPolicy,
    SyncWorkflow,
    UsageError,
    WorkflowCancelled,
    WorkflowFailed,
    WrongContext,
    step,
    sync,
    workflow,
)
from everlog.memory import MemoryStore
from everlog.testing.simulation import SimulatedHost
from tests.support import in_state, kinds, run

LOG: list[Any] = []


@pytest.fixture(autouse=True)
def no_log() -> None:
    LOG.clear()


class Declined(Exception):
    pass


@step
def double(number: int) -> int:
    return 2 * number


@step
async def wait(seconds: float, value: int = 0) -> int:
    LOG.append(("begins", value))
    await asyncio.sleep(seconds)
    LOG.append(("ends", value))
    return value


@step
async def decline(card: str) -> None:
    raise Declined(card)


def result_of(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Run a plain function as a workflow; give its result, or the exception that it ended with."""
    made: SyncWorkflow[..., Any] = workflow(function, name="under test")

    async def main(engine: Engine) -> Any:
        try:
            return await engine.run(made, *args)
        except WorkflowFailed as failed:
            return failed.__cause__

    return run(main, workflows=[made], **options)


def operations_of(function: Callable[..., Any], *args: Any) -> list[Any]:
    """Give the operations that a plain function leaves in its history, as they ended."""
    made: SyncWorkflow[..., Any] = workflow(function, name="under test")

    async def main(engine: Engine) -> list[Any]:
        handle = await engine.start(made, *args)
        await handle.result()
        return [event.data["operation"] for event in await handle.history() if "operation" in event.data]

    return run(main, workflows=[made])


# -- the same log, and the same powers ---------------------------------------------------------------------------------


def test_a_plain_function_is_a_workflow() -> None:
    @workflow(name="plain")
    def plain(number: int, *, more: int = 1) -> int:
        """Double it."""
        return double(number) + more

    assert isinstance(plain, SyncWorkflow)
    assert (plain.name, plain.__doc__, plain.fn(4)) == ("plain", "Double it.", 9)
    assert plain.options(id="one").id == "one"

    async def main(engine: Engine) -> list[Any]:
        handle = await engine.start(plain.options(id="one"), 4, more=3)
        return [await handle.result(), await engine.run(plain.options(id="one"), 4, more=3), *await kinds(handle)]

    recorded = ["workflow_created", "workflow_began", "step_completed", "workflow_completed"]
    assert run(main, workflows=[plain]) == [11, 11, *recorded]


def test_branches_are_named_as_tasks_are() -> None:
    def flow() -> None:
        def one(number: int) -> int:
            return double(double(number))

        sync.map(one, [1, 2])
        sync.submit(one, 3).result()
        sync.map(double, [1, 2])
        with everlog.scope("mail"):
            double(1)
            sync.call(wait, 0)
        double.options(key="the key")(1)

    assert set(operations_of(flow)) == {
        "one/double",
        "one/double#2",
        "one#2/double",
        "one#2/double#2",
        "one#3/double",
        "one#3/double#2",
        "double/double",
        "double#2/double",
        "mail/double",
        "mail/wait",
        "double@the key",
    }


def test_what_never_waits_is_the_same_in_a_replay_and_apart_in_each_branch() -> None:
    seen: list[Any] = []

    def flow() -> None:
        def draw(_: int) -> None:
            drawn.append((str(sync.uuid4()), sync.random().random(), sync.now()))

        drawn: list[Any] = []
        sync.sleep(1)
        sync.map(draw, range(3))
        draw(0)
        assert len({one[0] for one in drawn}) == 4
        assert sync.current().workflow_id == "one"
        sync.recv("never", timeout=100, default=None)
        seen.append((drawn, sync.current().replaying))

    made = workflow(flow, name="under test")

    def main(host: SimulatedHost, store: MemoryStore) -> None:
        async def live() -> None:
            async with Engine(store, host=host, workflows=[made], grace=0) as engine:
                handle = await engine.start(made.options(id="one"))
                await in_state(handle, "waiting")
            async with Engine(store, host=host, workflows=[made], grace=0) as engine:
                await engine.handle("one").result()

        host.run(live())

    host = SimulatedHost(1)
    main(host, MemoryStore(clock=host.wall))
    assert len(seen) == 1, "the first engine dropped it in the middle"


def test_context_variables_reach_branches_and_do_not_come_back() -> None:
    order: ContextVar[str] = ContextVar("order", default="none")

    def flow() -> list[str]:
        def branch(number: int) -> str:
            before = order.get()
            order.set(f"branch {number}")
            sync.sleep(1)
            return f"{before}, {order.get()}"

        order.set("mine")
        mapped = sync.map(branch, [1, 2])
        return [*mapped, sync.submit(branch, 3).result(), order.get()]

    assert result_of(flow) == ["mine, branch 1", "mine, branch 2", "mine, branch 3", "mine"]
    assert order.get() == "none"


def test_exceptions_of_steps_are_what_the_steps_raised() -> None:
    def flow() -> str:
        try:
            sync.call(decline, "gold")
        except Declined as error:
            return f"declined {error}"
        return "?"

    assert result_of(flow) == "declined gold"


def test_messages_and_sleeps_are_durable() -> None:
    def flow() -> list[Any]:
        began = sync.now()
        sync.sleep(timedelta(days=1))
        sync.sleep_until(began + timedelta(days=2))
        sync.sleep_until(began)
        sync.send("one", "to myself", 5)
        got = [sync.recv("to myself", type=int), sync.recv("never", timeout=0, default="nothing")]
        return [*got, (sync.now() - began) // timedelta(days=1)]

    made = workflow(flow, name="under test")

    async def main(engine: Engine) -> Any:
        return await (await engine.start(made.options(id="one"))).result()

    host = SimulatedHost(0)

    async def opened() -> Any:
        # Of two days a lease of seconds would be renewed all the time.
        async with Engine(MemoryStore(clock=host.wall), host=host, workflows=[made], lease=3600) as engine:
            return await main(engine)

    assert host.run(opened()) == [5, "nothing", 2]


# -- many at once ------------------------------------------------------------------------------------------------------


def test_map_gives_results_in_order_and_runs_at_most_so_many() -> None:
    def flow(limit: int | None) -> list[int]:
        return sync.map(lambda number: sync.call(wait, 1 / (number + 1), number), range(6), limit=limit)

    for limit in (1, 2, 6, None):
        LOG.clear()
        assert result_of(flow, limit) == list(range(6))
        running = most = 0
        for what, _ in LOG:
            running += 1 if what == "begins" else -1
            most = max(most, running)
        assert most == (limit or 6)


def test_map_takes_steps_and_async_functions() -> None:
    async def through(number: int) -> int:
        await asyncio.sleep(1)
        return await wait(0, number) + await everlog.call(double, number)

    def flow() -> list[Any]:
        return [sync.map(through, [1, 2]), sync.map(double, (3, 4)), sync.map(wait, [0.5, 0.1]), sync.map(double, [])]

    assert result_of(flow) == [[3, 6], [6, 8], [0, 0], []]


def test_the_first_failure_of_a_map_cancels_the_others_and_is_raised_when_they_have_ended() -> None:
    def flow() -> list[Any]:
        log: list[Any] = []

        def branch(number: int) -> None:
            try:
                sync.sleep(number)
                raise Declined(f"{number}")
            except asyncio.CancelledError:
                double(1)  # clean-up may take its time
                sync.sleep(10)
                log.append(f"cancelled {number}")
                raise

        try:
            sync.map(branch, [3, 1, 2])
        except Declined as error:
            log.append(f"raised {error}")
        return log

    *others, last = result_of(flow)
    assert (sorted(others), last) == (["cancelled 2", "cancelled 3"], "raised 1")


def test_futures() -> None:
    def flow() -> list[Any]:
        def slow(value: int, *, seconds: float = 5) -> int:
            sync.sleep(seconds)
            return value

        one, two, three = sync.submit(slow, 1), sync.submit(slow, 2, seconds=20), sync.submit(decline, "gold")
        log: list[Any] = [one.done(), repr(one)]
        for timeout in (0, timedelta(seconds=1)):
            try:
                one.result(timeout=timeout)
            except TimeoutError as error:
                log.append(str(error))
        log += [one.result(), one.result(timeout=0), one.done(), one.cancel()]
        log += [two.cancel(), two.done()]
        try:
            two.result()
        except asyncio.CancelledError:
            log.append("cancelled")
        try:
            three.result()
        except Declined:
            log.append("declined")
        return log

    late = "'slow' has not ended in time; it goes on"
    first = [False, "<Future 'slow', pending>", late, late]
    assert result_of(flow) == [*first, 1, 1, True, False, True, False, "cancelled", "declined"]


def test_a_future_belongs_to_its_workflow() -> None:
    kept: list[sync.Future[int]] = []

    def flow() -> str:
        if not kept:
            kept.append(sync.submit(double, 1))
            sync.sleep(50)
            return ""
        try:
            kept[0].result()
        except WrongContext as error:
            return str(error)
        return "?"

    made = workflow(flow, name="under test")

    async def main(engine: Engine) -> str:
        await engine.start(made.options(id="first"))
        await asyncio.sleep(1)
        return await engine.run(made.options(id="second"))

    assert "it belongs to workflow 'first', and this is workflow 'second'" in run(main, workflows=[made])


def test_branches_hand_over_where_they_wait_and_nowhere_else() -> None:
    def flow() -> list[str]:
        log: list[str] = []

        def branch(name: str) -> None:
            for turn in range(3):
                log.append(f"{name}{turn} in")
                time.sleep(0.001)  # other threads of the process may run: no other branch does
                log.append(f"{name}{turn} out")
                sync.sleep(1)

        sync.map(branch, "ab")
        return log

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NondeterminismWarning)
        log = result_of(flow)
    assert log == [f"{name}{turn} {what}" for turn in range(3) for name in "ab" for what in ("in", "out")]


def test_too_many_branches_of_blocking_code_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("everlog.replay.strands.MOST_STRANDS", 5)

    def flow(items: int, limit: int | None) -> list[int]:
        return sync.map(lambda number: double(number), range(items), limit=limit)

    error = result_of(flow, 5, None)
    assert isinstance(error, UsageError)
    assert "give sync.map a limit=" in str(error)
    assert result_of(flow, 50, 4) == [2 * number for number in range(50)]


# -- limits and cancellation -------------------------------------------------------------------------------------------


def test_timeouts_are_durable_and_nest() -> None:
    def flow() -> list[Any]:
        log: list[Any] = []
        with sync.timeout(None):
            sync.sleep(1)
        with sync.timeout(10):
            sync.sleep(1)
        try:
            with sync.timeout(timedelta(hours=1)):
                try:
                    with sync.timeout(7200):
                        sync.recv("never")
                finally:
                    log.append(double(1))
        except TimeoutError:
            log.append("outer")
        try:
            with sync.timeout(0):
                sync.sleep(1)
        except TimeoutError:
            log.append("at once")
        return log

    assert result_of(flow) == [2, "outer", "at once"]


def test_a_cancelled_workflow_cleans_up_with_steps() -> None:
    @workflow(name="cleans up")
    def flow() -> None:
        try:
            sync.recv("never")
        except asyncio.CancelledError:
            double(3)
            sync.sleep(5)
            raise

    async def main(engine: Engine) -> list[str]:
        handle = await engine.start(flow)
        await in_state(handle, "waiting")
        await handle.cancel(reason="enough")
        with pytest.raises(WorkflowCancelled, match="enough"):
            await handle.result()
        return await kinds(handle)

    assert run(main, workflows=[flow])[-4:] == ["step_completed", "timer_set", "timer_fired", "workflow_cancelled"]


def test_what_was_submitted_and_not_waited_for_is_cancelled_at_the_end() -> None:
    def flow() -> int:
        def branch() -> None:
            try:
                sync.sleep(100)
            except asyncio.CancelledError:
                LOG.append("cancelled")
                raise

        sync.submit(branch)
        return double(4)

    assert result_of(flow) == 8
    assert LOG == ["cancelled"]


# -- who may be called where -------------------------------------------------------------------------------------------


@workflow(name="another")
def another() -> None: ...


@workflow(name="another, async")
async def another_async() -> None: ...


async def a_coroutine() -> int:
    return 1


def starts_a_thread() -> None:
    threading.Thread(target=double, args=(1,)).start()


def uses_an_executor() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(double, 1)


IN_BLOCKING_CODE: list[tuple[Callable[[], Any], str]] = [
    (lambda: wait(1), r'wait is an async step: in blocking code write "sync\.call\(wait, \.\.\.\)"'),
    (lambda: everlog.call(double, 1), r"everlog\.call gives something to await.*write sync\.call\(\.\.\.\)"),
    (lambda: everlog.recv("a"), r"write sync\.recv"),
    (lambda: everlog.send("a", "b", 1), r"write sync\.send"),
    (lambda: everlog.sleep(60), r"write sync\.sleep"),
    (lambda: everlog.sleep_until(everlog.now()), r"write sync\.sleep_until"),
    (lambda: another_async(), r'is an async workflow: in blocking code write "sync\.call\(another_async, \.\.\.\)"'),
    (lambda: everlog.start(another), r"everlog\.start gives something to await.*write sync\.start\(\.\.\.\)"),
    (lambda: sync.start(double.fn, 1), "only a workflow or a step can be started"),  # type: ignore[arg-type]
    (lambda: sync.call(a_coroutine), "decorate it with @step"),
    (lambda: sync.submit(7), "take a function, got 7"),
    (lambda: sync.map(double, [1], limit=0), "limit of sync.map must be a whole number of at least 1, got 0"),
    (lambda: sync.recv("a", default=1), "default= needs timeout="),
    (starts_a_thread, "a thread of one's own is not for workflow code.*sync.map"),
    (
        uses_an_executor,
        r'ThreadPoolExecutor\.submit is not for workflow code.*in a def workflow "sync\.map\(step, items\)"',
    ),
]


@pytest.mark.parametrize(("wrong", "message"), IN_BLOCKING_CODE)
def test_what_blocking_code_cannot_do_is_refused_at_the_call(wrong: Callable[[], Any], message: str) -> None:
    def flow() -> None:
        with pytest.raises(UsageError, match=message):
            wrong()

    assert result_of(flow) is None


IN_ASYNC_CODE: list[tuple[Callable[[], Any], str]] = [
    (lambda: double(1), r"await everlog\.call\(double, \.\.\.\)"),
    (lambda: sync.call(wait, 1), r'sync\.call blocks, and this is async code; here write "await everlog\.call'),
    (lambda: sync.recv("a"), r'write "await everlog\.recv'),
    (lambda: sync.send("a", "b", 1), r'write "await everlog\.send'),
    (lambda: sync.sleep(1), r'write "await everlog\.sleep\('),
    (lambda: sync.sleep_until(everlog.now()), r'write "await everlog\.sleep_until'),
    (lambda: sync.map(double, [1]), r'write "await asyncio\.gather'),
    (lambda: sync.submit(double, 1), r'write "asyncio\.create_task'),
    (lambda: sync.timeout(1), r'write "async with asyncio\.timeout'),
    (lambda: another(), r'is a def workflow: in an async workflow write "await everlog\.call\(another, \.\.\.\)"'),
    (lambda: sync.start(another), r'write "await everlog\.start'),
    (lambda: sync.handle("a"), r'write "everlog\.handle'),
    (starts_a_thread, "a thread of one's own is not for workflow code"),
    (uses_an_executor, r"ThreadPoolExecutor\.submit is not for workflow code"),
]


@pytest.mark.parametrize(("wrong", "message"), IN_ASYNC_CODE)
def test_what_async_code_cannot_do_is_refused_at_the_call(wrong: Callable[[], Any], message: str) -> None:
    @workflow(name="under test")
    async def flow() -> None:
        with pytest.raises(WrongContext, match=message):
            wrong()

    assert run(lambda engine: engine.run(flow), workflows=[flow]) is None


def test_an_async_branch_of_blocking_code_is_async_code() -> None:
    async def branch(_: int) -> str:
        with pytest.raises(WrongContext, match=r"sync\.recv blocks"):
            sync.recv("a")
        return await everlog.recv("a", timeout=1, default="nothing")

    def flow() -> list[str]:
        return sync.map(branch, [1])

    assert result_of(flow) == ["nothing"]


ELSEWHERE: list[tuple[Callable[[], Any], str]] = [
    (lambda: sync.recv("a"), r"handle\.result\(\)"),
    (lambda: sync.send("a", "b", 1), r"engine\.send\(id, topic, message\)"),
    (lambda: sync.call(double, 1), "a plain call here"),
    (lambda: sync.sleep(1), r"time\.sleep\(seconds\)"),
    (lambda: sync.sleep_until(datetime.now(UTC)), r"time\.sleep\(seconds\)"),
    (lambda: sync.map(double, []), r"concurrent\.futures"),
    (lambda: sync.submit(double, 1), r"concurrent\.futures"),
    (lambda: sync.timeout(1), "a timeout of its own"),
]


@pytest.mark.parametrize(("function", "advice"), ELSEWHERE)
def test_outside_of_workflows_the_functions_of_sync_are_refused(function: Callable[[], Any], advice: str) -> None:
    with pytest.raises(WrongContext, match=f"works in a def workflow, and this is none; here .*{advice}"):
        function()


def test_in_a_step_too() -> None:
    @step
    def sends() -> None:
        sync.send("a", "b", 1)

    def flow() -> None:
        sends()

    error = result_of(flow)
    assert isinstance(error, WrongContext)
    assert "sync.send works in a def workflow, and this is a step (" in str(error)
    assert 'make the step an async def and write "await everlog.send(' in str(error)


def test_a_workflow_is_not_called_outside() -> None:
    with pytest.raises(WrongContext, match=r"engine\.start\(another, \.\.\.\).*another\.fn\(\.\.\.\)"):
        another()


def test_loops_of_ones_own_are_refused() -> None:
    def flow() -> None:
        coroutine = a_coroutine()
        with pytest.raises(
            WrongContext, match=r'asyncio\.run is not for workflow code.*in a def workflow write "sync\.submit'
        ):
            asyncio.run(coroutine)
        coroutine.close()

    assert result_of(flow) is None


def test_a_plain_function_that_returns_a_coroutine_is_refused() -> None:
    def flow() -> Any:
        return a_coroutine()

    def mapping() -> Any:
        return sync.map(lambda _: a_coroutine(), [1])

    for function in (flow, mapping):
        error = result_of(function)
        assert isinstance(error, InvalidDefinition)
        assert "write async def" in str(error)


def test_guards_see_blocking_code() -> None:
    def flow() -> list[float]:
        return sync.map(lambda _: time.time(), [1])

    with pytest.warns(NondeterminismWarning, match=r"calls time\.time at .*test_blocking\.py:\d+"):
        result_of(flow)


def test_the_guards_name_the_durable_sleep_of_blocking_code() -> None:
    def flow() -> None:
        time.sleep(0)

    with pytest.warns(NondeterminismWarning, match=r"holds up all workflows.*in a def workflow sync\.sleep"):
        result_of(flow)


def test_an_operation_says_where_it_was_called() -> None:
    @workflow(name="calls")
    def flow() -> None:
        sync.submit(wait, 100)
        sync.map(wait.options(retry=RetryPolicy(max_attempts=2)), [100, 100])

    async def main(engine: Engine) -> list[tuple[str, int]]:
        shell: Any = engine._shell
        handle = await engine.start(flow)
        await asyncio.sleep(1)
        places = [one.called_at for one in shell.worker.residents[handle.id].execution.operations.values()]
        await handle.cancel()
        return places

    line = flow.fn.__code__.co_firstlineno
    places = run(main, workflows=[flow])
    assert [number - line for _, number in places] == [2, 3, 3]
    assert {file for file, _ in places} == {__file__}
