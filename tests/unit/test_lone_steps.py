"""Steps that are started by themselves: workflows of one step, which whoever knows the step goes on with."""

from __future__ import annotations

import asyncio
import functools
import gc
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import (
    Client,
    Engine,
    IdInUse,
    InvalidDefinition,
    Queue,
    RetryPolicy,
    UsageError,
    WorkflowFailed,
    WrongContext,
    named,
    step,
    sync,
    workflow,
)
from everlog.replay import registry
from everlog.testing.simulation import SimulatedHost
from tests.support import kill, kinds, make_store, on_both_stores, opened, simulate

mail = Queue("mail")
tries: list[int] = []


class Broken(Exception):
    """Raised by a step."""


@step(name="lone.add")
async def add(a: int, b: int = 1, *, times: int = 1) -> int:
    return (a + b) * times


@step(name="lone.shout")
def shout(text: str) -> str:
    return text.upper()


@step(name="lone.square", process=True)
def square(number: int) -> int:
    return number * number


@step(retry=RetryPolicy(max_attempts=3, first_delay=0.01))
async def flaky(until: int) -> int:
    tries.append(until)
    if len(tries) < until:
        raise Broken(f"try {len(tries)}")
    return everlog.current().attempt


@step(unrecorded=["client"])
async def with_client(text: str, client: str = "default") -> str:
    return f"{text} {client}"


@step(unrecorded=["client"])
async def needs_client(text: str, client: str) -> str:
    return f"{text} {client}"


@step(name="x" * 512)
async def has_a_long_name() -> None: ...


@step(name="dotted name")
async def renamed() -> str:
    return f"{everlog.current().name}, {everlog.current().step}"


class Doubles:
    def __call__(self, number: int) -> int:
        return 2 * number


triple = step(functools.partial(lambda a, b: a * b, 3), name="lone triple")
twice = step(Doubles(), name="lone twice")


class Shop:
    @step
    async def close(self) -> None: ...

    @staticmethod
    @step
    async def rate(amount: int) -> int:
        return 2 * amount


@workflow(name="lone.add")
async def same_name(a: int) -> str:
    return f"the workflow, {a}"


@workflow
async def starts_steps() -> list[Any]:
    child = await everlog.start(add, 1, times=3)
    queued = await mail.enqueue(shout, "queued")
    return [await child.result(), await queued.result()]


@workflow
def starts_steps_blocking() -> list[Any]:
    return [sync.start(add, 1, times=3).result(), sync.start(shout, "plain").result()]


def test_steps_of_all_kinds_run_as_workflows(tmp_path: Path) -> None:
    async def program() -> None:
        async with Engine(f"sqlite:///{tmp_path}/test.db") as engine:
            assert await engine.run(add, 2, times=2) == 6
            assert await engine.run(shout, "aloud") == "ALOUD"
            assert await engine.run(square, 7) == 49
            assert await engine.run(with_client, "a") == "a default"
            assert await engine.run(Shop.rate, 4) == 8
            assert [await engine.run(one, 5) for one in (triple, twice)] == [15, 10]
            assert await engine.run(renamed) == "step:dotted name, dotted name"
            assert await engine.run(same_name, 4) == "the workflow, 4"
            handle = await engine.start(add, 2)
            assert await handle.result() == 3
            assert await kinds(handle) == ["workflow_created", "workflow_began", "step_completed", "workflow_completed"]
            found = [one async for one in engine.workflows(name="step:lone.add")]
            assert [one.state for one in found] == ["completed"] * 2
            assert await engine.handle(found[0].id, add).result() == 3

    asyncio.run(program())


def test_they_run_in_workflows_and_queues() -> None:
    async def program() -> None:
        async with Engine("sqlite:///:memory:", queues=[mail]) as engine:
            assert await engine.run(starts_steps) == [6, "QUEUED"]
            assert await engine.run(starts_steps_blocking) == [6, "PLAIN"]
            handle = await engine.queue(mail).enqueue(add, 1)
            assert (await handle.result(), (await handle.status()).queue) == (2, "mail")

    asyncio.run(program())


def test_blocking_code_starts_them() -> None:
    with sync.Engine("memory://") as engine:
        assert (engine.run(add, 2), engine.start(shout, "a").result()) == (3, "A")


def test_a_step_is_tried_as_its_policy_says() -> None:
    async def program() -> None:
        async with Engine("memory://") as engine:
            tries.clear()
            assert await engine.run(flaky, 3) == 3
            tries.clear()
            with pytest.raises(WorkflowFailed) as failed:
                await engine.run(flaky, 9)
            assert isinstance(failed.value.__cause__, Broken)
            assert len(tries) == 3

    asyncio.run(program())


def test_whoever_knows_the_step_goes_on_with_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/test.db"

    async def program() -> None:
        async with Client(url) as client:
            handle = await client.start(add, 2)
            by_name = await client.start(named("step:lone.shout", type=str), text="from elsewhere")
        async with Engine(url, workflows=[same_name]) as knows_none:
            await knows_none.run(same_name, 1)
            assert (await knows_none.handle(handle.id).status()).state == "queued"
        async with Engine(url, workflows=[add]) as knows_one:
            assert await knows_one.handle(handle.id, add).result() == 3
            assert (await knows_one.handle(by_name.id).status()).state == "queued"
        async with Engine(url) as knows_all:
            assert await knows_all.handle(by_name.id).result() == "FROM ELSEWHERE"

    asyncio.run(program())


attempts: list[int] = []


@step(name="lone.slow", retry=RetryPolicy(max_attempts=3, first_delay=10))
async def slow(number: int) -> int:
    attempts.append(everlog.current().attempt)
    await asyncio.sleep(10)
    if len(attempts) < 3:
        raise Broken
    return number


@on_both_stores
@pytest.mark.parametrize("killed_after", [5, 15])
def test_it_goes_on_after_a_crash(kind: str, tmp_path: Path, killed_after: float) -> None:
    async def program(host: SimulatedHost) -> None:
        attempts.clear()
        store = make_store(host, kind, tmp_path)
        engine = await opened(Engine(store, host=host.sibling(), lease=1))
        handle = await engine.start(slow, 7)
        await asyncio.sleep(killed_after)
        kill(engine)
        async with Engine(store, host=host.sibling(), lease=1) as another:
            assert await another.handle(handle.id, slow).result() == 7
        assert attempts == ([1, 1, 2] if killed_after == 5 else [1, 2, 3])

    simulate(program)


def test_an_id_is_of_one_step() -> None:
    async def program() -> None:
        async with Engine("memory://") as engine:
            handle = await engine.start(add, 2)
            with pytest.raises(IdInUse, match=r"is a workflow 'step:lone\.add', not 'lone\.add'"):
                await engine.start(same_name.options(id=handle.id), 2)

    asyncio.run(program())


def test_what_could_not_go_on_after_a_restart_is_refused() -> None:
    async def program() -> None:
        async with Engine("memory://") as engine:
            for options in ({"retry": None}, {"timeout": 3}, {"name": "another"}):
                with pytest.raises(UsageError, match="with options of its own"):
                    await engine.start(add.options(**options), 1)  # type: ignore[arg-type]  # they are options
            with pytest.raises(WrongContext, match="leave key= out"):
                await engine.start(add.options(key="k"), 1)
            for method in (Shop().close, Shop.close):
                with pytest.raises(UsageError, match="is a method"):
                    await engine.start(method)  # type: ignore[arg-type]  # the second lacks its self
            for _ in range(2):
                with pytest.raises(InvalidDefinition, match="the unrecorded parameter 'client' needs a default"):
                    await engine.start(needs_client, "a", "mine")
            with pytest.raises(UsageError, match="at most 512"):
                await engine.start(has_a_long_name)
            with pytest.raises(UsageError, match="unrecorded parameter 'client'"):
                await engine.start(with_client, "a", client="mine")

    asyncio.run(program())


def test_two_steps_of_one_name_cannot_be_started() -> None:
    def another(a: int) -> int:
        return a

    async def program() -> None:
        async with Engine("memory://") as engine:
            with pytest.raises(InvalidDefinition, match=r"two steps are called 'lone\.add'"):
                await engine.start(add, 1)
            assert await engine.run(same_name, 1) == "the workflow, 1"

    twin = step(another, name="lone.add")
    asyncio.run(program())
    del twin
    gc.collect()
    with sync.Engine("memory://") as engine:
        assert engine.run(add, 1) == 2


def test_steps_that_nobody_has_any_more_are_forgotten() -> None:
    before = len(registry.registered_steps())
    for number in range(100):
        step(lambda: 1, name=f"made {number}")
    gc.collect()
    assert len(registry.registered_steps()) == before
