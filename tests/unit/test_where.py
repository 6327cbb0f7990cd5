"""Who may be called where: each misuse is refused at the call, before anything runs, and told the right form."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

import everlog
from everlog import Engine, InvalidDefinition, UsageError, WorkflowFailed, WrongContext, step, sync, workflow
from tests.support import kinds, run

RAN: list[str] = []
ENGINE: list[Engine] = []
EXECUTORS: list[Any] = []


@step
async def charge(card: str) -> str:
    RAN.append("charge")
    return f"charged {card}"


@step
def render(order: str) -> str:
    RAN.append("render")
    return order.upper()


@step
def returns_a_coroutine(order: str) -> Any:
    return charge.fn(order)


@workflow
async def checkout(order: str) -> str:
    RAN.append("checkout")
    return order


@workflow
def tally(order: str) -> str:
    RAN.append("tally")
    return order


class Shop:
    @workflow
    async def sell(self, item: str) -> str:
        RAN.append("sell")
        return item


def engine() -> Engine:
    return ENGINE[0]


def handle() -> Any:
    # Made outside, as one that was kept in a global would be.
    return HANDLES[0]


HANDLES: list[Any] = []

IN_A_WORKFLOW: dict[str, tuple[Callable[[], Any], str]] = {
    "a plain step": (lambda: render("x"), 'await everlog.call(render, ...)"'),
    "a plain step with options": (lambda: render.options(key="a")("x"), 'await everlog.call(render, ...)"'),
    "a plain workflow": (lambda: tally("x"), "await everlog.call(tally, ...)"),
    "a plain workflow with options": (lambda: tally.options(id="x")("x"), "await everlog.call(tally, ...)"),
    "a workflow of an object that nobody knows": (lambda: Shop().sell("x"), "everlog.register("),
    "a function by everlog.call": (lambda: everlog.call(charge.fn, "x"), "@step"),  # type: ignore[arg-type]
    "engine.start": (lambda: engine().start(checkout, "x"), "in a step"),
    "engine.run": (lambda: engine().run(checkout, "x"), "workflow.fn("),
    "engine.send": (lambda: engine().send("x", "topic", 1), "await everlog.send("),
    "engine.handle": (lambda: engine().handle("x"), "in a step"),
    "engine.workflows": (lambda: engine().workflows(), "in a step"),
    "engine.cancel": (lambda: engine().cancel("x"), "in a step"),
    "engine.serve": (lambda: engine().serve(), "where the engine was opened"),
    "handle.result": (lambda: handle().result(), "in a step"),
    "handle.status": (lambda: handle().status(), "in a step"),
    "handle.history": (lambda: handle().history(), "in a step"),
    "handle.send": (lambda: handle().send("topic", 1), "await everlog.send("),
    "handle.cancel": (lambda: handle().cancel(), "in a step"),
    "asyncio.run": (lambda: asyncio.run(nothing()), "await the coroutine"),
    "asyncio.Runner": (lambda: asyncio.Runner().run(nothing()), "await the coroutine"),
    "a thread pool of one's own": (lambda: EXECUTORS[0].submit(print, "x"), "await everlog.call(step, ...)"),
    "a process pool of one's own": (lambda: EXECUTORS[1].submit(print, "x"), "await everlog.call(step, ...)"),
    "the loop's executor": (lambda: loop().run_in_executor(EXECUTORS[0], render, "x"), "await everlog.call(step, ...)"),
    "a new loop": (lambda: loop().run_until_complete(nothing()), "belongs to the engine"),
    "a socket": (lambda: loop().create_connection(None, "localhost", 1), "in a step"),
    "a subprocess": (lambda: loop().subprocess_shell(None, "true"), "in a step"),
    "recv without an end, with a default": (lambda: everlog.recv("x", default=1), "timeout="),  # type: ignore[call-overload]
    "a key that is no key": (lambda: charge.options(key=""), "key"),
    "an id for a step": (lambda: charge.options(id="x"), "a step has no option 'id'"),  # type: ignore[call-arg]
    "a key for a workflow that is none": (lambda: checkout.options(key=""), "the key of a workflow"),
    "a retry for a workflow": (lambda: checkout.options(retry=None), "a workflow has no option 'retry'"),  # type: ignore[call-arg]
}

OUTSIDE: dict[str, tuple[Callable[[], Any], str]] = {
    "everlog.recv": (
        lambda: everlog.recv("x"),
        'take what is wanted as an argument, or wait for a result by "await handle.',
    ),
    "everlog.sleep": (lambda: everlog.sleep(1), "await asyncio.sleep(seconds)"),
    "everlog.sleep_until": (lambda: everlog.sleep_until(datetime.now(UTC)), "await asyncio.sleep(seconds)"),
    "everlog.call": (lambda: everlog.call(charge, "x"), "a plain call here"),
    "everlog.now": (everlog.now, "datetime.now(UTC)"),
    "everlog.random": (everlog.random, "random.Random()"),
    "everlog.uuid4": (everlog.uuid4, "uuid.uuid4()"),
    "everlog.scope": (lambda: everlog.scope("x").__enter__(), "calls of a workflow"),
    "a workflow": (lambda: checkout("x"), "await engine.start(checkout, ...)"),
    "a workflow that is a method": (lambda: Shop().sell("x"), "await engine.start(sell, ...)"),
    "a workflow that is elsewhere": (
        lambda: everlog.named("far")("x"),
        "await engine.start(everlog.named('far'), ...)",
    ),
    "a key": (lambda: charge.options(key="a")("x"), "leave key= out"),
    "a key of a plain step": (lambda: render.options(key="a")("x"), "leave key= out"),
}
OUTSIDE_ONLY: dict[str, tuple[Callable[[], Any], str]] = {
    "everlog.send": (lambda: everlog.send("x", "topic", 1), "await engine.send("),
    "everlog.current": (everlog.current, "works in a workflow or a step, and this is none"),
}
IN_A_PLAIN_STEP: dict[str, tuple[Callable[[], Any], str]] = {
    "everlog.send": (lambda: everlog.send("x", "topic", 1), "async def"),
}


async def nothing() -> None:
    RAN.append("nothing")


def loop() -> Any:
    return asyncio.get_running_loop()


def misuse(table: dict[str, tuple[Callable[[], Any], str]], name: str) -> None:
    """Call what is not to be called here; the call itself has to refuse it, without an await."""
    call, advice = table[name]
    with pytest.raises(UsageError if name in WRONG_ANYWHERE else WrongContext, match=re.escape(advice)):
        call()


WRONG_ANYWHERE = {
    "recv without an end, with a default",
    "a key that is no key",
    "an id for a step",
    "a key for a workflow that is none",
    "a retry for a workflow",
    "a workflow of an object that nobody knows",
}


@workflow
async def misuses(name: str) -> str:
    misuse(IN_A_WORKFLOW, name)
    return await charge("after that")


@workflow
async def steps_misuse(name: str, is_async: bool) -> None:
    await (misuses_in_a_step(name) if is_async else everlog.call(misuses_in_a_thread, name))


@step
async def misuses_in_a_step(name: str) -> None:
    misuse(OUTSIDE, name)


@step
def misuses_in_a_thread(name: str) -> None:
    misuse({**OUTSIDE, **IN_A_PLAIN_STEP}, name)


@pytest.fixture(autouse=True)
def _executors() -> Iterator[None]:
    RAN.clear()
    with ThreadPoolExecutor(1) as threads, ProcessPoolExecutor(1) as processes:
        threads.submit(len, "a").result()  # its thread is there, so that none need be started
        EXECUTORS[:] = [threads, processes]
        yield


# A coroutine that was made for a call that is refused is not awaited, and says so when it is collected.
@pytest.mark.filterwarnings("ignore:coroutine 'nothing' was never awaited:RuntimeWarning")
@pytest.mark.parametrize("name", IN_A_WORKFLOW)
def test_in_a_workflow(name: str) -> None:
    async def program(given: Engine) -> None:
        ENGINE[:] = [given]
        HANDLES[:] = [given.handle("somebody")]
        handle = await given.start(misuses, name)
        assert await handle.result() == "charged after that"
        assert await kinds(handle) == ["workflow_created", "workflow_began", "step_completed", "workflow_completed"]
        assert len(await given.workflows()) == 1

    run(program, workflows=[misuses, checkout], guards="off")
    assert RAN == ["charge"], "what was refused did not run"


@pytest.mark.parametrize("name", [*OUTSIDE, *OUTSIDE_ONLY])
def test_outside(name: str) -> None:
    misuse({**OUTSIDE, **OUTSIDE_ONLY}, name)
    assert RAN == []


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("name", [*OUTSIDE, *IN_A_PLAIN_STEP])
def test_in_a_step(name: str, is_async: bool) -> None:
    if is_async and name in IN_A_PLAIN_STEP:
        return

    async def program(given: Engine) -> None:
        await given.run(steps_misuse, name, is_async)

    run(program, workflows=[steps_misuse])
    assert RAN == []


# -- what is right there


@workflow
async def uses_steps_rightly() -> list[str]:
    return [await outer("x"), await everlog.call(outer_plain, "y"), await asyncio.to_thread(render, "z")]


@step
async def outer(order: str) -> str:
    assert everlog.current().step == "outer"
    return f"{await charge(order)} {render(order)}"


@step
def outer_plain(order: str) -> str:
    return render(order)


def test_steps_call_steps_as_plain_functions_and_outside_as_well() -> None:
    async def program(given: Engine) -> None:
        handle = await given.start(uses_steps_rightly)
        assert await handle.result() == ["charged x X", "Y", "Z"]
        assert (await kinds(handle)).count("step_completed") == 3

    run(program, workflows=[uses_steps_rightly])
    assert asyncio.run(charge("x")) == "charged x"
    assert render("x") == "X"


@workflow
async def tells(to: str) -> None:
    await tells_in_a_step(to)


@step
async def tells_in_a_step(to: str) -> None:
    for _ in range(2):
        await everlog.send(to, "news", "from a step", key="once")
    await everlog.send(to, "news", "again")


@workflow
async def listens() -> list[str]:
    first, second = [await everlog.recv("news", type=str) for _ in range(2)]
    third = await everlog.recv("news", type=str, timeout=5, default="nothing")
    return [first, second, third]


def test_an_async_step_sends_with_a_key_once() -> None:
    async def program(given: Engine) -> None:
        listening = await given.start(listens)
        await given.run(tells, listening.id)
        assert await listening.result() == ["from a step", "again", "nothing"]

    run(program, workflows=[tells, listens])


@workflow
async def calls_what_returns_a_coroutine() -> None:
    await everlog.call(returns_a_coroutine, "x")


def test_a_plain_step_that_returns_a_coroutine_is_refused_with_the_fix() -> None:
    async def program(given: Engine) -> None:
        with pytest.raises(WorkflowFailed, match="write async def"):
            await given.run(calls_what_returns_a_coroutine)

    run(program, workflows=[calls_what_returns_a_coroutine])
    with pytest.raises(InvalidDefinition, match="write async def"):
        returns_a_coroutine("x")
    assert RAN == []


async def yields() -> AsyncIterator[int]:
    yield 1


def test_generators_are_refused_where_they_are_defined() -> None:
    for decorate in (step, workflow):
        given: Any = decorate
        with pytest.raises(InvalidDefinition, match="generator"):
            given(yields)


@workflow
async def forgets() -> str:
    charge("forgotten")
    forgotten = everlog.call(render, "forgotten")
    del forgotten
    return "done"


def test_what_was_called_and_never_awaited_is_reported_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    async def program(given: Engine) -> None:
        assert await given.run(forgets) == "done"

    run(program, workflows=[forgets])
    line = forgets.fn.__code__.co_firstlineno
    said = [record.getMessage() for record in caplog.records if "never awaited" in record.getMessage()]
    assert [f"{__file__}:{line + number}" in text for number, text in zip((2, 3), said, strict=True)] == [True, True]
    assert RAN == []


@workflow
async def part(card: str) -> str:
    return await charge(card)


@workflow
def plain_part(order: str) -> str:
    return render(order)


@workflow
async def whole() -> str:
    return await part.fn("a")


@workflow
def plain_whole() -> str:
    return plain_part.fn("b") + sync.submit(part.fn, "c").result()


def test_the_function_of_a_workflow_runs_as_a_part_of_another() -> None:
    async def program(given: Engine) -> list[Any]:
        handles = [await given.start(whole), await given.start(plain_whole)]
        return [(await handle.result(), (await kinds(handle)).count("step_completed")) for handle in handles]

    assert run(program, workflows=[whole, plain_whole]) == [("charged a", 1), ("Bcharged c", 2)]


@step
async def forgets_declared() -> str:
    forgotten: Any = nothing()
    return forgotten  # type: ignore[no-any-return]


@step
async def forgets_undeclared() -> Any:
    return nothing()


@workflow
async def returns_what_was_forgotten(is_declared: bool) -> Any:
    return await (forgets_declared() if is_declared else forgets_undeclared())


@pytest.mark.filterwarnings("ignore:coroutine 'nothing' was never awaited:RuntimeWarning")
@pytest.mark.parametrize("is_declared", [True, False])
def test_a_result_that_was_not_awaited_is_told_so(is_declared: bool) -> None:
    async def program(given: Engine) -> None:
        with pytest.raises(WorkflowFailed, match='not awaited: write "await" before the call'):
            await given.run(returns_what_was_forgotten, is_declared)

    run(program, workflows=[returns_what_was_forgotten])


def test_asyncio_run_and_executors_are_as_ever_elsewhere() -> None:
    async def main() -> int:
        return await asyncio.get_running_loop().run_in_executor(None, len, "four")

    assert asyncio.run(main(), debug=False) == 4
    with asyncio.Runner() as runner:
        assert runner.run(main()) == 4
    assert EXECUTORS[0].submit(int, "7", base=8).result() == 7
    assert EXECUTORS[1].submit(int, "7", base=8).result() == 7
