"""Attempts that do not wait share a task; those that do have one of their own, as if it had been made for them."""

from __future__ import annotations

import asyncio
import sys
from contextvars import ContextVar

import pytest

from everlog import Engine, step, workflow

seen: ContextVar[str] = ContextVar("seen", default="nothing")
tasks: dict[str, asyncio.Task[object] | None] = {}
held: dict[str, asyncio.Event] = {}
all_here: dict[int, asyncio.Event] = {}
"""By how many attempts there are in all."""


def note(name: str) -> None:
    tasks[name] = asyncio.current_task()
    if len(tasks) in all_here:
        all_here[len(tasks)].set()


@step
async def quick(name: str) -> str:
    note(name)
    before = seen.get()
    seen.set(name)
    return before


@step
async def waiting(name: str) -> str:
    before = seen.get()
    seen.set(name)
    note(name)
    await asyncio.sleep(0)
    await held[name].wait()
    assert asyncio.current_task() is tasks[name]
    assert seen.get() == name
    return before


@step
async def stubborn(name: str) -> str:
    try:
        await held[name].wait()
    except asyncio.CancelledError:
        return "swallowed"
    return "waited"


@step
async def cancels_itself() -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return "returned"


@workflow
async def all_at_once(quick_ones: int, waiting_ones: int) -> list[str]:
    calls = [quick(f"quick {number}") for number in range(quick_ones)]
    calls += [waiting(f"waiting {number}") for number in range(waiting_ones)]
    calls += [quick(f"late {number}") for number in range(quick_ones)]
    return list(await asyncio.gather(*calls))


@workflow
async def first_of_two() -> str:
    slow = asyncio.create_task(stubborn("slow"))
    await quick("first")
    slow.cancel()
    results = await asyncio.gather(slow, cancels_itself(), quick("last"), return_exceptions=True)
    return " ".join(str(type(one).__name__ if isinstance(one, BaseException) else one) for one in results)


@pytest.fixture(autouse=True)
def _forget() -> None:
    tasks.clear()
    all_here.clear()
    held.clear()


async def run_all_at_once(waiting_ones: int) -> list[str]:
    held.update({f"waiting {number}": asyncio.Event() for number in range(waiting_ones)})
    all_here[20 + waiting_ones] = asyncio.Event()
    async with Engine("memory://") as engine:
        handle = await engine.start(all_at_once, 10, waiting_ones)
        await all_here[20 + waiting_ones].wait()
        for event in held.values():
            event.set()
        return await handle.result()


def test_contexts_are_apart_and_waiting_attempts_have_tasks_of_their_own() -> None:
    assert asyncio.run(run_all_at_once(10)) == ["nothing"] * 30
    own = [tasks[f"waiting {number}"] for number in range(10)]
    assert len(set(own)) == 10
    assert len({tasks[f"quick {number}"] for number in range(10)}) == 1
    assert tasks["late 0"] not in own


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_with_eager_tasks_hundreds_can_wait_at_once() -> None:
    async def main() -> list[str]:
        factory = getattr(asyncio, "eager_task_factory")  # noqa: B009 - not there before 3.12
        asyncio.get_running_loop().set_task_factory(factory)
        return await run_all_at_once(500)

    assert asyncio.run(main()) == ["nothing"] * 520


def test_a_cancelled_attempt_leaves_the_others_alone() -> None:
    async def main() -> str:
        held["slow"] = asyncio.Event()
        async with Engine("memory://") as engine:
            return await engine.run(first_of_two)

    assert asyncio.run(main()) == "CancelledError returned nothing"
