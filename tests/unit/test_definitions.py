"""Definitions: what can be a workflow or a step, what it is called, and which options it takes."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

import everlog
from everlog import (
    InvalidDefinition,
    RetryPolicy,
    Step,
    SyncStep,
    SyncWorkflow,
    UsageError,
    Workflow,
    WrongContext,
    step,
    workflow,
)


async def fetch(url: str, *, retries: int = 3) -> str:
    """Fetch it."""
    return url * retries


def parse(text: str) -> int:
    return len(text)


def test_a_step_is_still_the_function_it_was_made_from() -> None:
    fetched = step(fetch)
    assert isinstance(fetched, Step)
    assert (fetched.name, fetched.__name__, fetched.__doc__) == ("fetch", "fetch", "Fetch it.")
    assert fetched.fn is fetch
    assert inspect.signature(fetched) == inspect.signature(fetch)
    assert asyncio.run(fetched("a", retries=2)) == "aa"
    parsed = step(parse)
    assert isinstance(parsed, SyncStep)
    assert parsed("abc") == 3


def test_brackets_make_no_difference() -> None:
    @step
    async def one() -> None: ...

    @step()
    async def two() -> None: ...

    @workflow
    async def three() -> None: ...

    @workflow()
    async def four() -> None: ...

    assert all(isinstance(made, Step) for made in (one, two))
    assert all(isinstance(made, Workflow) for made in (three, four))


def test_names_are_qualified_and_never_hold_the_module() -> None:
    assert step(parse).name == "parse"
    assert Shop.sell.name == "Shop.sell"
    assert step(parse, name="other").name == "other"
    assert step(functools.partial(parse)).name == "parse"


class Shop:
    @step
    async def sell(self, what: str) -> str:
        return what

    @workflow
    async def run(self, what: str) -> str:
        return await self.sell(what)


class Callme:
    async def __call__(self) -> None: ...


def test_whether_it_is_async_is_seen_through_partials_and_callables() -> None:
    assert isinstance(step(functools.partial(fetch, "a"), name="a"), Step)
    assert isinstance(step(Callme(), name="b"), Step)
    assert isinstance(step(functools.partial(parse, "a"), name="c"), SyncStep)
    assert isinstance(step(len, name="d"), SyncStep)


def numbers() -> Iterator[int]:
    yield 1


async def async_numbers() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("decorate", [step, workflow])
@pytest.mark.parametrize(
    "wrong",
    [
        numbers,
        async_numbers,
        17,
        "text",
        step(fetch),
        functools.partial(numbers),
    ],
)
def test_what_cannot_be_run_durably_cannot_be_defined(decorate: Any, wrong: Any) -> None:
    with pytest.raises(InvalidDefinition):
        decorate(wrong)


def test_a_bare_name_is_told_its_option() -> None:
    given: Any = step
    with pytest.raises(InvalidDefinition, match=r"got 'fetch'; write @step\(name='fetch'\)"):
        given("fetch")


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(InvalidDefinition, match="name="):
        step(lambda: 1)
    assert step(lambda: 1, name="one").name == "one"


def test_a_plain_function_is_a_workflow_of_its_own_kind() -> None:
    parsing = workflow(parse, name="parsing")
    assert isinstance(parsing, SyncWorkflow)
    assert inspect.signature(parsing) == inspect.signature(parse)
    assert isinstance(workflow(name="fetching")(fetch), Workflow)


@pytest.mark.parametrize(
    "options",
    [
        {"retries": 3},
        {"retry": 3},
        {"retry": {"max_attempts": 3}},
        {"timeout": -1},
        {"timeout": "soon"},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"timeout": True},
        {"name": ""},
        {"name": 7},
        {"name": "a\0b"},
        {"name": "x" * 1000},
        {"at_most_once": "yes"},
    ],
)
def test_wrong_options_of_a_step_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        step(fetch, **options)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("options", [{"id": "x"}, {"retry": None}, {"name": ""}, {"name": 7}])
def test_wrong_options_of_a_workflow_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        workflow(fetch, **options)


def test_options_are_checked_and_chain() -> None:
    made = step(fetch, timeout=5, retry=RetryPolicy(max_attempts=2))
    changed = made.options(key="a").options(timeout=timedelta(minutes=1))
    assert (changed.key, changed.timeout, changed.retry) == ("a", 60_000_000, made.retry)
    assert (made.key, made.timeout) == (None, 5_000_000), "the original is as it was"
    assert changed.options(timeout=None, retry=None).timeout is None
    assert type(changed) is type(made)
    for wrong in ({"at_most_once": True}, {"key": ""}, {"key": 3}, {"key": None}, {"timeout": 0.0 - 1}, {"id": "x"}):
        with pytest.raises(UsageError):
            made.options(**wrong)  # type: ignore[arg-type]
    flow = workflow(fetch, name="flow")
    assert flow.options(id="a").id == "a"
    assert flow.options(when_parent_ends="leave").options(key="k").when_parent_ends == "leave"
    assert flow.id is None
    for wrong in ({"id": ""}, {"id": "a\0"}, {"id": 3}, {"id": "x" * 600}, {"name": "x"}, {"when_parent_ends": "stay"}):
        with pytest.raises(UsageError):
            flow.options(**wrong)  # type: ignore[arg-type]


def test_two_workflows_of_one_name_from_two_modules_are_refused_and_from_one_replace() -> None:
    async def flow() -> None: ...

    first = workflow(flow, name="has one name")
    second = workflow(flow, name="has one name")
    assert first is not second

    async def elsewhere() -> None: ...

    elsewhere.__module__ = "another.module"
    with pytest.raises(InvalidDefinition, match="has one name"):
        workflow(elsewhere, name="has one name")


def test_a_workflow_called_outside_of_an_engine_names_the_right_form() -> None:
    flow = workflow(fetch, name="called wrongly")
    with pytest.raises(WrongContext, match=r"engine\.start"):
        flow("a")
    assert asyncio.run(flow.fn("a", retries=1)) == "a"


@pytest.mark.parametrize(
    "call",
    [
        lambda: everlog.recv("x"),
        lambda: everlog.send("x", "y", 1),
        lambda: everlog.call(step(fetch), "x"),
        everlog.now,
        everlog.random,
        everlog.uuid4,
        everlog.current,
        lambda: everlog.scope("x").__enter__(),
    ],
)
def test_the_functions_of_workflows_are_refused_elsewhere(call: Any) -> None:
    with pytest.raises(WrongContext, match="workflow"):
        call()


def test_sleep_is_refused_elsewhere() -> None:
    with pytest.raises(WrongContext, match="workflow"):
        asyncio.run(everlog.sleep(1))
