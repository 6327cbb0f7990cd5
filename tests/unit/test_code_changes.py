"""Ten kinds of change of workflow code: each is reported at the event at which it shows, with both sides."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import everlog
from everlog import step, sync, workflow
from everlog.testing import Exported, HistoryDiverges, VirtualEngine, replay

ID = "order-1"


@step
async def reserve(item: str) -> str:
    return item


@step
async def charge(cents: int) -> int:
    return cents


@step
async def ship(item: str) -> str:
    return item


@workflow(name="changes_invoice")
async def invoice(cents: int) -> int:
    return cents


@workflow(name="changes_reminder")
async def reminder(cents: int) -> int:
    return cents


@workflow(name="changes_other")
async def other() -> str:
    return await everlog.recv("hello", type=str, timeout=3600, default="")


def original() -> Any:
    @workflow(name="order")
    async def order(item: str, cents: int) -> str:
        await reserve(item)  # 3
        await charge(cents)  # 4
        await asyncio.sleep(60)  # 5, 6
        await everlog.send("other", "hello", "shipped")  # 7
        await invoice(cents)  # 8, 9
        return await ship(item)  # 10, and the end at 11

    return order


def with_a_renamed_step() -> Any:
    @step
    async def bill(cents: int) -> int:
        return cents

    @workflow(name="order")
    async def order(item: str, cents: int) -> str:
        await reserve(item)
        await bill(cents)
        return item

    return order


def with_steps_in_another_order() -> Any:
    @workflow(name="order")
    async def order(item: str, cents: int) -> str:
        await charge(cents)
        await reserve(item)
        return item

    return order


def without_a_step() -> Any:
    @workflow(name="order")
    async def order(item: str, cents: int) -> str:
        await reserve(item)
        await asyncio.sleep(60)
        return item

    return order


def with_another_step() -> Any:
    @workflow(name="order")
    async def order(item: str, cents: int) -> str:
        await reserve(item)
        await reserve("a box")
        await charge(cents)
        return item

    return order


def with_another_argument() -> Any:
    @workflow(name="order")
    async def order(item: str, cents: int) -> str:
        await reserve(item)
        await charge(cents + 1)
        return item

    return order


def with_steps_at_once() -> Any:
    @workflow(name="order")
    async def order(item: str, cents: int) -> str:
        await asyncio.gather(reserve(item), in_a_task(charge, cents))
        return item

    async def in_a_task(fn: Any, *args: Any) -> Any:
        return await fn(*args)

    return order


def with_another_timer() -> Any:
    @workflow(name="order")
    async def order(item: str, cents: int) -> str:
        await reserve(item)
        await charge(cents)
        await asyncio.sleep(61)
        return item

    return order


def with_another_topic() -> Any:
    @workflow(name="order")
    async def order(item: str, cents: int) -> str:
        await reserve(item)
        await charge(cents)
        await asyncio.sleep(60)
        await everlog.send("other", "goodbye", "shipped")
        return item

    return order


def with_another_child() -> Any:
    @workflow(name="order")
    async def order(item: str, cents: int) -> str:
        await reserve(item)
        await charge(cents)
        await asyncio.sleep(60)
        await everlog.send("other", "hello", "shipped")
        await reminder(cents)
        return item

    return order


@dataclass
class Paid:
    cents: int


def with_another_type_of_result() -> Any:
    @step(name="charge")
    async def charge_now(cents: int) -> Paid:
        return Paid(cents)

    @workflow(name="order")
    async def order(item: str, cents: int) -> str:
        await reserve(item)
        paid = await charge_now(cents)
        return f"{item} {paid.cents}"

    return order


CHANGES: list[tuple[Callable[[], Any], int, str, str]] = [
    (with_a_renamed_step, 4, "step_completed charge ", 'bill({"cents":500})'),
    (with_steps_in_another_order, 3, "step_completed reserve ", "step charge({"),
    (without_a_step, 4, "step_completed charge ", "timer: timer due at"),
    (with_another_step, 4, "step_completed charge ", 'reserve#2: step reserve({"item":"a box"})'),
    (with_another_argument, 4, '"cents":500', '"cents":501'),
    (with_steps_at_once, 4, "step_completed charge ", "in_a_task/charge: step charge({"),
    (with_another_timer, 5, "timer_set timer ", "timer due at"),
    (with_another_topic, 7, 'topic="hello"', "'goodbye'"),
    (with_another_child, 8, "changes_invoice", "changes_reminder"),
    (with_another_type_of_result, 4, "step_completed charge ", "Paid"),
]


@pytest.fixture(scope="module")
def history() -> Exported:
    with VirtualEngine() as engine:
        engine.start(other.options(id="other"))
        assert engine.run(original().options(id=ID), "tea", 500) == "tea"
        return engine.history(ID)


@pytest.mark.parametrize(("change", "seq", "recorded", "asked"), CHANGES, ids=[one[0].__name__ for one in CHANGES])
def test_a_change_is_reported_at_the_right_event_with_both_sides(
    history: Exported, change: Callable[[], Any], seq: int, recorded: str, asked: str
) -> None:
    with pytest.raises(HistoryDiverges) as caught:
        replay(history, change())
    verdict = caught.value.verdict
    assert (verdict.workflow_id, verdict.name, verdict.outcome, verdict.seq) == (ID, "order", "diverges", seq)
    (side,) = [side for side in verdict.sides if side.seq == seq]
    assert recorded in side.history
    assert asked in side.code
    assert {one.code for one in verdict.sides if one.seq < seq} == {"the same"}
    told = str(verdict)
    assert told.splitlines()[0] == f"{ID} (order) diverges at event {seq}"
    assert f"\n> {seq:>5}  " in told
    assert all(len(line) <= 100 or f" at {__file__}:" in line for line in told.splitlines())


@pytest.mark.parametrize("change", [one[0] for one in CHANGES if one[0] is not with_another_type_of_result])
def test_the_side_of_the_code_names_file_and_line(history: Exported, change: Callable[[], Any]) -> None:
    with pytest.raises(HistoryDiverges) as caught:
        replay(history, change())
    verdict = caught.value.verdict
    (side,) = [side for side in verdict.sides if side.seq == verdict.seq]
    if "timer" not in side.code:  # asyncio sets it, at no line of the user's
        assert f"{__file__}:" in side.code


def test_the_code_that_made_a_history_fits_it(history: Exported) -> None:
    verdict = replay(history, original())
    assert (verdict.outcome, verdict.events, verdict.seq, verdict.sides) == ("clean", len(history.rows), None, [])
    assert str(verdict) == f"{ID} (order) replays clean"


def test_each_prefix_of_a_history_fits_the_code_that_made_it(history: Exported) -> None:
    """As it stood at any moment: what is in flight when new code comes."""
    for length in range(1, len(history.rows) + 1):
        cut = Exported(workflow_id=ID, name="order", rows=history.rows[:length])
        assert replay(cut, original()).events == length


def test_a_history_of_another_python_is_told_so(history: Exported) -> None:
    rows = [(seq, at, re.sub(rb'"python":"[^"]*"', b'"python":"3.9.1"', payload)) for seq, at, payload in history.rows]
    with pytest.raises(HistoryDiverges, match=r"\n  The history was recorded under Python 3\.9\.1; this is"):
        replay(Exported(workflow_id=ID, name="order", rows=rows), without_a_step())


def test_an_input_that_no_longer_fits_is_found_before_the_workflow_begins(history: Exported) -> None:
    @workflow(name="order")
    async def order(item: int, cents: int) -> str:
        return str(item)

    with pytest.raises(HistoryDiverges) as caught:
        replay(Exported(workflow_id=ID, name="order", rows=history.rows[:1]), order)
    verdict = caught.value.verdict
    assert (verdict.outcome, verdict.seq) == ("diverges", 1)
    assert "does not fit workflow 'order'" in verdict.why
    with pytest.raises(HistoryDiverges) as caught:
        replay(history, order)
    assert (caught.value.verdict.outcome, caught.value.verdict.seq) == ("diverges", 2)


def test_a_change_of_blocking_code_is_reported_alike() -> None:
    @step
    def load(part: int) -> int:
        return part

    def before() -> Any:
        @workflow(name="blocking")
        def blocking() -> int:
            return sum(sync.map(load, [1, 2])) + load(3)

        return blocking

    def after() -> Any:
        @workflow(name="blocking")
        def blocking() -> int:
            return sum(sync.map(load, [1, 2])) + load(4)

        return blocking

    with VirtualEngine() as engine:
        assert engine.run(before().options(id="b")) == 6
        history = engine.history("b")
    assert replay(history, before()).is_clean
    with pytest.raises(HistoryDiverges) as caught:
        replay(history, after())
    (side,) = [side for side in caught.value.verdict.sides if side.seq == caught.value.verdict.seq]
    assert '"part":3' in side.history
    assert '"part":4' in side.code


def test_code_that_raises_after_the_last_event_would_fail() -> None:
    def before() -> Any:
        @workflow(name="raising")
        async def raising() -> None:
            await reserve("tea")
            await everlog.recv("go")

        return raising

    def after() -> Any:
        @workflow(name="raising")
        async def raising() -> None:
            await reserve("tea")
            raise KeyError("a new mistake")

        return raising

    with VirtualEngine() as engine:
        engine.start(before().options(id="r"))
        engine.sleep(0.05)  # the wait has no event of its own yet
        history = engine.history("r")
    assert len(history.rows) == 3
    with pytest.raises(HistoryDiverges) as caught:
        replay(history, after())
    assert (caught.value.verdict.outcome, caught.value.verdict.seq) == ("fails", 3)
    assert "KeyError: 'a new mistake'" in caught.value.verdict.sides[-1].code
    assert f'File "{__file__}", line' in caught.value.verdict.sides[-1].code
