"""Steps: what is recorded, what a workflow gets back, and that it gets the same live and in a replay."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
import threading
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

import everlog
from everlog import Engine, RetryPolicy, StepFailed, StepInterrupted, WorkflowFailed, step, sync, workflow
from everlog.host import SystemHost
from everlog.testing.simulation import SimulatedHost
from tests.support import (
    FlakyStore,
    events_of,
    in_state,
    kill,
    kinds,
    make_store,
    on_both_stores,
    opened,
    run,
    simulate,
    until,
)

CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


@dataclass
class Order:
    card: str
    cents: int = 0
    items: list[str] = field(default_factory=list)


@dataclass
class SpecialOrder(Order):
    gift: bool = True


class Refused(Exception):
    """With an `__init__` that does not fit its `args`, and attributes."""

    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(f"refused with {code}")
        self.code = code
        self.why = why


@step
async def charge(order: Order) -> str:
    CALLS.append(order)
    return f"{order.card}:{order.cents}"


@step
def render(text: str, *, loud: bool = False) -> str:
    CALLS.append(threading.current_thread().name)
    return text.upper() if loud else text


def replays(flow: Any, *args: Any, seconds: float = 60) -> Any:
    """Give what a workflow returns when its process dies after each of its commits, which must always be the same."""
    host = SimulatedHost(1)

    async def main() -> Any:
        plain = make_store(host)
        async with Engine(plain, host=host, workflows=[flow]) as engine:
            handle = await engine.start(flow.options(id="flow"), *args)
            live = await handle.result()
            commits = len(await handle.history())
            for crash in range(1, commits + 1):
                replayed = await dying(host, flow, args, crash, seconds)
                assert replayed == live, f"after a crash at commit {crash}"
        return live

    return host.run(main())


async def dying(host: SimulatedHost, flow: Any, args: tuple[Any, ...], crash: int, seconds: float) -> Any:
    store = FlakyStore(make_store(host))
    first = await opened(Engine(store, host=host.sibling(), workflows=[flow]))
    handle = await first.start(flow.options(id="flow"), *args)
    for _ in range(int(seconds / 0.01)):
        if store.commits >= crash or (await handle.status()).ended_at is not None:
            break
        await asyncio.sleep(0.01)
    kill(first)
    await asyncio.sleep(25)  # two leases
    async with Engine(store, host=host.sibling(), workflows=[flow]) as second:
        return await second.handle("flow").result()


# -- what is recorded


@workflow
async def shop(order: Order) -> list[str]:
    return [await charge(order), await everlog.call(render, "page", loud=True)]


@on_both_stores
def test_inputs_and_results_are_recorded_in_one_row_each(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(shop, Order("visa", 5, ["a"]))
        assert await handle.result() == ["visa:5", "PAGE"]
        assert await kinds(handle) == [
            "workflow_created",
            "workflow_began",
            "step_completed",
            "step_completed",
            "workflow_completed",
        ]
        charged, rendered = await events_of(engine, handle.id, "step_completed")
        assert charged.data["step"] == charged.data["operation"] == "charge"
        assert "visa" in str(charged.data["input"])
        assert charged.data["result"] == "visa:5"
        assert charged.data["started_at"] <= charged.recorded_at.timestamp() * 1e6
        assert rendered.data["result"] == "PAGE"

    run(program, kind=kind, folder=tmp_path, workflows=[shop])


@step
async def changes_its_argument(order: Order) -> None:
    order.items.append("more")
    order.cents = 99


@workflow
async def passes_its_order(order: Order) -> list[Any]:
    await changes_its_argument(order)
    return [order.cents, order.items]


def test_a_step_that_changes_its_argument_changes_nothing_in_the_workflow() -> None:
    assert replays(passes_its_order, Order("visa", 1, ["one"])) == [1, ["one"]]


@step
async def returns_its_argument(order: Order) -> Order:
    return order


@workflow
async def compares_identity() -> bool:
    order = Order("visa", 1)
    again = await returns_its_argument(order)
    return again == order and again is not order


def test_a_workflow_never_shares_an_object_with_a_step() -> None:
    assert replays(compares_identity)


@step
async def returns_a_subtype() -> Order:
    return SpecialOrder("visa", 1)


@workflow
async def asks_for_the_type() -> list[str]:
    try:
        order = await returns_a_subtype()
    except everlog.NotEncodable as error:
        return ["refused", str(error)]
    except StepFailed as error:
        return ["failed", str(error)]
    return ["returned", type(order).__name__]


def test_a_subtype_of_the_declared_result_is_the_same_live_and_in_a_replay() -> None:
    found = replays(asks_for_the_type)
    assert found[0] == "refused"
    assert "returns_a_subtype" in found[1]


@step
async def raises_a_known_exception() -> None:
    raise Refused(7, why="no money")


@step
async def raises_a_local_exception() -> None:
    class Local(ValueError):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"local {one} {two}")

    raise Local(1, 2)


@workflow
async def catches() -> list[Any]:
    caught: list[Any] = []
    try:
        await raises_a_known_exception()
    except Refused as error:
        caught.append([type(error).__name__, str(error), error.code, error.why])
    try:
        await raises_a_local_exception()
    except ValueError:
        caught.append("a ValueError, which a replay would not know")
    except StepFailed as error:
        caught.append(str(error))
    return caught


def test_exceptions_are_the_same_live_and_in_a_replay() -> None:
    assert replays(catches) == [
        ["Refused", "refused with 7", 7, "no money"],
        "tests.unit.test_steps.raises_a_local_exception.<locals>.Local: local 1 2",
    ]


@workflow
async def fails_by_a_step() -> None:
    await raises_a_known_exception()


def test_an_uncaught_exception_of_a_step_is_the_cause_of_the_failure() -> None:
    async def program(engine: Engine) -> None:
        with pytest.raises(WorkflowFailed, match="Refused: refused with 7") as caught:
            await engine.run(fails_by_a_step)
        cause = caught.value.__cause__
        assert isinstance(cause, Refused)
        assert cause.why == "no money"
        assert caught.value.error is not None
        assert caught.value.error.type == "tests.unit.test_steps:Refused"
        assert any("raises_a_known_exception" in note for note in cause.__notes__)

    run(program, workflows=[fails_by_a_step])


@step(retry=RetryPolicy(max_attempts=5))
async def returns_a_lock() -> Any:
    CALLS.append("ran")
    return {"deep": [threading.Lock()]}


@workflow
async def wants_a_lock() -> None:
    await returns_a_lock()


def test_a_result_that_cannot_be_recorded_fails_without_a_retry_and_names_its_path() -> None:
    async def program(engine: Engine) -> None:
        with pytest.raises(WorkflowFailed) as caught:
            await engine.run(wants_a_lock)
        assert isinstance(caught.value.__cause__, everlog.NotEncodable)
        assert "deep" in str(caught.value)
        assert "returns_a_lock" in str(caught.value)
        assert CALLS == ["ran"]

    run(program, workflows=[wants_a_lock])


class Evil:
    """Whatever is asked of it raises."""

    def __reduce__(self) -> Any:
        raise ZeroDivisionError

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise ZeroDivisionError("asked for __dict__")


@dataclass
class EvilDataclass:
    inner: Any

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise ZeroDivisionError("asked for __class__")


@step
async def returns_something_evil(which: int) -> Any:
    if which == 0:
        return Evil()
    if which == 1:
        return EvilDataclass(1)
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    return nested


@step
def returns_something_evil_in_a_thread(which: int) -> Any:
    return returns_something_evil.fn(which).send(None)


class EvilError(Exception):
    """Cannot be told."""


class RefusesToCompare(type):
    def __instancecheck__(cls, instance: object) -> bool:
        raise ZeroDivisionError("asked for isinstance")


class NeverCompared(Exception, metaclass=RefusesToCompare):
    pass


@step(retry=RetryPolicy(retry_on=(NeverCompared,)))
async def raises_under_a_broken_policy() -> None:
    raise EvilError


@workflow
async def meets_evil(which: int) -> str:
    try:
        if which == 3:
            await raises_under_a_broken_policy()
        await returns_something_evil(which)
    except Exception as error:
        return type(error).__name__
    return "returned"


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_whatever_a_step_returns_or_raises_it_ends(which: int) -> None:
    async def program(engine: Engine) -> str:
        async with asyncio.timeout(10):
            return await engine.run(meets_evil, which)

    assert run(program, workflows=[meets_evil]) != "returned"


@workflow
async def passes_a_lock() -> str:
    try:
        await charge(Order("visa", threading.Lock()))  # type: ignore[arg-type]
    except everlog.NotEncodable as error:
        return str(error).split("<")[0]
    return "passed"


def test_an_input_that_cannot_be_recorded_is_an_error_at_the_call() -> None:
    message = replays(passes_a_lock)
    assert "charge" in message
    assert "cents" in message
    assert CALLS == []


@step
async def measures(text: str) -> int:
    return len(text)


@workflow
async def passes_much(size: int) -> int:
    return await measures("x" * size)


def test_a_large_input_is_kept_as_digest_size_and_preview() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(passes_much, 70_000)
        assert await handle.result() == 70_000
        (completed,) = await events_of(engine, handle.id, "step_completed")
        assert "input" not in completed.data
        large = completed.data["large_input"]
        assert large["size"] > 70_000
        assert len(large["preview"]) <= 200
        assert len(large["digest"]) >= 32

    run(program, workflows=[passes_much])
    assert replays(passes_much, 70_000) == 70_000


def test_a_step_takes_and_gives_megabytes() -> None:
    assert replays(passes_much, 5_000_000) == 5_000_000


# -- the ways to define and call a step

ANONYMOUS = step(lambda n: n + 1, name="increment")
PARTIAL = step(functools.partial(lambda a, b: a * b, 3), name="triple")


async def fetch(url: str) -> str:
    return f"<{url}>"


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()  # cannot be recorded

    @step
    async def sell(self, what: str) -> str:
        return f"{self.name} sells {what}"

    @step
    def buy(self, what: str) -> str:
        return f"{self.name} buys {what}"

    @staticmethod
    @step
    async def close(hour: int) -> int:
        return hour


class Callme:
    async def __call__(self, n: int) -> int:
        return n * 10


CALLABLE = step(Callme(), name="tenfold")


@workflow
async def every_way() -> list[Any]:
    market = Shop("market")
    return [
        await everlog.call(ANONYMOUS, 1),
        await everlog.call(PARTIAL, 2),
        await step(fetch, name="fetch")("a"),
        await step(fetch)("b"),
        await market.sell("tea"),
        await everlog.call(market.buy, "ink"),
        await Shop.close(5),
        await CALLABLE(4),
        await asyncio.to_thread(render, "quiet"),
        await asyncio.to_thread(render, "aloud", loud=True),
        await asyncio.to_thread(market.buy, "pen"),
        await asyncio.get_running_loop().run_in_executor(None, render, "executor"),
        await charge.options(name="renamed")(Order("visa", 2)),
        await everlog.call(charge, Order("card", 3)),
    ]


def test_steps_can_be_defined_and_called_in_every_way() -> None:
    assert replays(every_way) == [
        2,
        6,
        "<a>",
        "<b>",
        "market sells tea",
        "market buys ink",
        5,
        40,
        "quiet",
        "ALOUD",
        "market buys pen",
        "executor",
        "visa:2",
        "card:3",
    ]


def test_the_names_of_steps_are_what_was_given() -> None:
    async def program(engine: Engine) -> list[str]:
        handle = await engine.start(every_way)
        await handle.result()
        return [event.data["step"] for event in await events_of(engine, handle.id, "step_completed")]

    names = run(program, workflows=[every_way])
    assert names[:6] == ["increment", "triple", "fetch", "fetch", "Shop.sell", "Shop.buy"]
    assert names[-2:] == ["renamed", "charge"]


def test_self_of_a_method_is_not_recorded() -> None:
    async def program(engine: Engine) -> Any:
        handle = await engine.start(every_way)
        await handle.result()
        return [
            event.data["input"]
            for event in await events_of(engine, handle.id, "step_completed")
            if event.data["step"] == "Shop.sell"
        ]

    (recorded,) = run(program, workflows=[every_way])
    assert "tea" in str(recorded)
    assert "market" not in str(recorded)


@workflow
async def hands_a_plain_function_to_a_thread() -> str:
    try:
        await asyncio.to_thread(time.gmtime)
    except everlog.WrongContext as error:
        return str(error)
    return "ran"


def test_to_thread_of_what_is_no_step_is_refused_with_the_fix() -> None:
    assert "everlog.call" in replays(hands_a_plain_function_to_a_thread)


@workflow
async def calls_a_plain_step_like_a_function() -> str:
    try:
        return render("x")
    except everlog.WrongContext as error:
        return str(error)


def test_a_plain_step_called_like_a_function_in_a_workflow_is_refused_with_the_fix() -> None:
    assert "await everlog.call(render, ...)" in replays(calls_a_plain_step_like_a_function)


def test_steps_outside_of_a_workflow_are_plain_calls() -> None:
    assert render("x", loud=True) == "X"
    assert asyncio.run(charge(Order("visa", 1))) == "visa:1"
    assert asyncio.run(Shop("market").sell("tea")) == "market sells tea"


@step
async def inner() -> str:
    return everlog.current().step or ""


@step
async def outer() -> list[str]:
    return [await inner(), everlog.current().step or "", render("plain")]


@workflow
async def nests() -> list[str]:
    return await outer()


def test_a_step_inside_a_step_is_a_plain_call() -> None:
    async def program(engine: Engine) -> list[str]:
        handle = await engine.start(nests)
        assert await handle.result() == ["outer", "outer", "plain"]
        return await kinds(handle)

    assert run(program, workflows=[nests]).count("step_completed") == 1


# -- keys


@workflow
async def two_live_keys() -> str:
    try:
        await asyncio.gather(charge.options(key="k")(Order("a")), charge.options(key="k")(Order("a")))
    except everlog.WrongContext as error:
        return str(error)
    return "both ran"


def test_two_live_steps_of_one_key_are_an_error() -> None:
    assert "have the same key: 'charge@k'" in replays(two_live_keys)


@step
async def slow_key(n: int) -> int:
    CALLS.append((n, everlog.current().key, everlog.current().attempt))
    await asyncio.sleep(5 if n == 1 else 1)
    return n


@workflow
async def uses_a_key_again() -> list[int]:
    done: list[int] = []
    slow = slow_key.options(key="order/7#x@y")
    try:
        async with asyncio.timeout(2):
            done.append(await slow(1))
    except TimeoutError:
        done.append(-1)
    done.append(await slow(2))
    done.append(await slow(3))
    return done


def test_a_key_may_be_used_again_after_its_step_was_cancelled_or_has_ended() -> None:
    assert replays(uses_a_key_again) == [-1, 2, 3]
    assert {key for _, key, _ in CALLS} == {"order/7#x@y"}


@workflow
async def uses_a_key_again_at_once() -> list[int]:
    slow = slow_key.options(key="k")
    first = asyncio.ensure_future(slow(1))
    await asyncio.sleep(0)
    first.cancel()
    return [await slow(2)]


def test_a_key_may_be_used_again_in_the_drain_that_cancelled_it() -> None:
    assert replays(uses_a_key_again_at_once) == [2]


# -- contexts

REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")


@step
async def reads_the_context() -> str:
    found = REQUEST.get()
    REQUEST.set("changed by the step")
    return found


@step
def reads_the_context_in_a_thread() -> str:
    return REQUEST.get()


@workflow
async def sets_the_context() -> list[str]:
    REQUEST.set("set by the workflow")
    return [await reads_the_context(), REQUEST.get(), await everlog.call(reads_the_context_in_a_thread)]


def test_a_step_runs_in_a_copy_of_its_callers_context() -> None:
    assert replays(sets_the_context) == ["set by the workflow", "set by the workflow", "set by the workflow"]


# -- at most once


@step(at_most_once=True)
async def pays(n: int) -> int:
    CALLS.append(n)
    await asyncio.sleep(5)
    return n


@workflow
async def pays_once() -> str:
    try:
        return f"paid {await pays(1)}"
    except StepInterrupted:
        return "interrupted"


def test_an_at_most_once_step_writes_its_start_first() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(pays_once)
        await until(lambda: bool(CALLS))
        assert (await kinds(handle))[-1] == "step_started"
        assert await handle.result() == "paid 1"

    run(program, workflows=[pays_once])


@on_both_stores
def test_an_at_most_once_step_whose_process_died_is_interrupted_and_never_runs_again(kind: str, tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        first = await opened(Engine(store, host=host, workflows=[pays_once]))
        await first.start(pays_once.options(id="flow"))
        await asyncio.sleep(2)
        kill(first)
        await asyncio.sleep(15)
        async with Engine(store, host=host.sibling(), workflows=[pays_once]) as second:
            handle = second.handle("flow", pays_once)
            assert await handle.result() == "interrupted"
            await asyncio.sleep(10)
            assert CALLS == [1]
            (failed,) = await events_of(second, "flow", "step_failed")
            assert failed.data["error"]["type"] == "everlog.errors:StepInterrupted"

    simulate(program)


@step(at_most_once=True)
async def cancels_itself() -> None:
    CALLS.append("ran")
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


@workflow
async def runs_what_cancels_itself() -> str:
    try:
        await cancels_itself()
    except StepInterrupted:
        return "interrupted"
    return "returned"


def test_an_at_most_once_step_that_is_cut_short_in_a_living_process_does_not_run_again() -> None:
    async def program(engine: Engine) -> str:
        async with asyncio.timeout(30):
            return await engine.run(runs_what_cancels_itself)

    assert run(program, workflows=[runs_what_cancels_itself]) == "interrupted"
    assert CALLS == ["ran"]


@step
async def is_cancelled_within() -> None:
    CALLS.append("ran")
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@workflow
async def runs_what_is_cancelled_within() -> str:
    try:
        await is_cancelled_within()
    except StepFailed as error:
        return str(error)
    return "returned"


def test_a_step_in_which_something_else_was_cancelled_has_failed() -> None:
    async def program(engine: Engine) -> str:
        async with asyncio.timeout(30):
            return await engine.run(runs_what_is_cancelled_within)

    assert "CancelledError" in run(program, workflows=[runs_what_is_cancelled_within])
    assert CALLS == ["ran"]


@step
def exits() -> None:
    raise SystemExit(3)


@workflow
async def runs_what_exits() -> str:
    try:
        await everlog.call(exits)
    except StepFailed as error:
        return str(error)
    return "returned"


def test_a_step_that_raises_systemexit_has_failed() -> None:
    assert "SystemExit" in replays(runs_what_exits)


@step
async def exits_on_the_loop() -> None:
    raise SystemExit(3)


@workflow
async def runs_what_exits_on_the_loop() -> str:
    try:
        await exits_on_the_loop()
    except StepFailed as error:
        return str(error)
    return "returned"


def test_an_async_step_that_raises_systemexit_has_failed_and_ends_no_loop() -> None:
    assert "SystemExit" in replays(runs_what_exits_on_the_loop)


@step
def returns_a_coroutine() -> Any:
    return fetch("x")


@workflow
async def runs_what_returns_a_coroutine() -> str:
    try:
        await everlog.call(returns_a_coroutine)
    except everlog.InvalidDefinition as error:
        return str(error)
    return "returned"


def test_a_plain_step_that_returns_a_coroutine_is_refused_with_the_fix() -> None:
    assert "async def" in replays(runs_what_returns_a_coroutine)


# -- many at once


@workflow
async def fans_out(n: int) -> int:
    texts = await asyncio.gather(*(everlog.call(render, str(i)) for i in range(n)))
    orders = await asyncio.gather(*(charge(Order("c", i)) for i in range(n)))
    return len(texts) + len(orders)


def test_many_steps_at_once() -> None:
    assert replays(fans_out, 20) == 40


@step
async def waits_long() -> None:
    CALLS.append("began")
    await asyncio.sleep(3600)


@workflow
async def waits_for_a_step() -> None:
    await waits_long()


def test_a_step_that_runs_for_long_is_in_the_history_after_a_tenth_of_a_second() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(waits_for_a_step)
        await in_state(handle, "running")
        await asyncio.sleep(0.3)
        assert (await kinds(handle))[-1] == "step_started"
        assert "waits_long" in (await handle.status()).why
        await handle.cancel()

    run(program, workflows=[waits_for_a_step])


def test_an_exception_of_a_package_that_defines_only_steps_is_rebuilt() -> None:
    module = types.ModuleType("toolbox_of_a_test")
    exec("class Jammed(Exception): ...\nasync def turn() -> None:\n    raise Jammed('stuck fast')", module.__dict__)
    sys.modules[module.__name__] = module
    turn = step(module.turn, name="turn")

    @workflow
    async def tries() -> str:
        try:
            await turn()
        except module.Jammed as jammed:
            return str(jammed)
        return "nothing was raised"

    assert run(lambda engine: engine.run(tries)) == "stuck fast"


class ShortHost(SystemHost):
    """A machine that has no thread for the first steps."""

    def __init__(self, without: int) -> None:
        super().__init__()
        self.without = without

    def run_in_thread(self, function: Callable[[], None]) -> None:
        if self.without and "_begin_in_thread" in function.__qualname__:
            self.without -= 1
            raise RuntimeError("can't start new thread")
        super().run_in_thread(function)


@step(at_most_once=True)
def at_most_once(n: int) -> int:
    return n + 1


@step
def at_least_once(n: int) -> int:
    return n + 1


@workflow
async def several(n: int) -> list[int]:
    return await asyncio.gather(*(everlog.call(one, n) for one in (at_least_once, at_most_once, at_least_once)))


@workflow
def several_blocking(n: int) -> list[int]:
    return sync.map(lambda one: one(n), [at_least_once, at_most_once, at_least_once])


@pytest.mark.parametrize("flow", [several, several_blocking])
def test_where_the_machine_has_no_thread_for_a_step_it_is_tried_again(flow: Any) -> None:
    async def main() -> None:
        async with Engine("memory://", host=ShortHost(5), workflows=[flow], grace=0) as engine:
            assert await asyncio.wait_for(engine.run(flow, 1), 30) == [2, 2, 2]

    asyncio.run(main())
