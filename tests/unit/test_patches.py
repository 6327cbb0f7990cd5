"""Patches: code that was changed in the middle goes on with old histories the old way, and with others the new one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import everlog
from everlog import WrongContext, step, sync, workflow
from everlog.errors import StoreUnavailable
from everlog.store import Batch, BatchOutcome
from everlog.testing import HistoryDiverges, VirtualEngine, replay
from tests.support import FlakyStore, on_both_stores, run

CALLS: list[str] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


@step(name="patches.note")
async def note(text: str) -> str:
    CALLS.append(text)
    return text


@step(name="patches.note_plainly")
def note_plainly(text: str) -> str:
    CALLS.append(text)
    return text


def before(kind: str) -> Any:
    @workflow(name="patches.order")
    async def order() -> list[str]:
        found = [await note("a"), await note("old")]
        return [*found, await everlog.recv("go", type=str)]

    @workflow(name="patches.order")
    def order_plainly() -> list[str]:
        found = [note_plainly("a"), note_plainly("old")]
        return [*found, sync.recv("go", type=str)]

    return define(order, order_plainly, kind)


def patched(kind: str, *, retired: bool = False) -> Any:
    @workflow(name="patches.order")
    async def order() -> list[str]:
        found = [await note("a")]
        if everlog.patched("new check", retired=retired):
            found.append(await note("new"))
        else:
            found.append(await note("old"))
        return [*found, await everlog.recv("go", type=str)]

    @workflow(name="patches.order")
    def order_plainly() -> list[str]:
        found = [note_plainly("a")]
        found.append(note_plainly("new" if sync.patched("new check", retired=retired) else "old"))
        return [*found, sync.recv("go", type=str)]

    return define(order, order_plainly, kind)


def without_the_call(kind: str) -> Any:
    @workflow(name="patches.order")
    async def order() -> list[str]:
        found = [await note("a"), await note("new")]
        return [*found, await everlog.recv("go", type=str)]

    @workflow(name="patches.order")
    def order_plainly() -> list[str]:
        found = [note_plainly("a"), note_plainly("new")]
        return [*found, sync.recv("go", type=str)]

    return define(order, order_plainly, kind)


def define(order: Any, order_plainly: Any, kind: str) -> Any:
    """Have the one be defined that is asked for: of those of one name the last one counts."""
    return everlog.workflow((order if kind == "async" else order_plainly).fn, name="patches.order")


both_colours = pytest.mark.parametrize("kind", ["async", "sync"])
Change = Callable[[str], Any]


@both_colours
def test_old_histories_take_the_old_way_and_new_ones_the_new(kind: str) -> None:
    with VirtualEngine() as engine:
        engine.start(before(kind).options(id="old"))
        engine.sleep(1)
        order = patched(kind)
        engine.restart()
        engine.start(order.options(id="new"))
        engine.sleep(1)
        for _ in range(2):  # and each replay does the same again
            engine.restart()
            engine.sleep(1)
        for name in ("old", "new"):
            engine.send(name, "go", "went")
            assert engine.handle(name).result() == ["a", name, "went"]
        assert CALLS == ["a", "old", "a", "new"]
        assert [event.type for event in engine.handle("new").history()].count("patch_marked") == 1
        assert "patch_marked" not in [event.type for event in engine.handle("old").history()]


@both_colours
def test_a_patch_is_retired_and_its_call_taken_out(kind: str) -> None:
    with VirtualEngine() as engine:
        engine.start(patched(kind).options(id="marked"))
        engine.sleep(1)
        order = patched(kind, retired=True)
        engine.restart()
        engine.start(order.options(id="retired"))
        engine.sleep(1)
        engine.send("marked", "go", "went")
        assert engine.handle("marked").result() == ["a", "new", "went"]
        without_the_call(kind)
        engine.restart()
        engine.send("retired", "go", "went")
        assert engine.handle("retired").result() == ["a", "new", "went"]
        patched(kind)


@both_colours
def test_a_patch_that_was_retired_too_early_is_told_and_mended(kind: str) -> None:
    with VirtualEngine() as engine:
        engine.start(before(kind).options(id="old"))
        engine.sleep(1)
        patched(kind, retired=True)
        engine.restart()
        engine.send("old", "go", "went")
        engine.sleep(1)
        status = engine.handle("old").status()
        assert status.state == "stuck"
        assert "took the old way of patch 'new check'" in status.why
        assert "if patched('new check'): ... else: ..." in status.why
        patched(kind)
        engine.retry("old")
        assert engine.handle("old").result() == ["a", "old", "went"]


@both_colours
def test_code_that_does_not_ask_is_told_what_it_lacks(kind: str) -> None:
    with VirtualEngine() as engine:
        engine.start(patched(kind).options(id="new"))
        engine.sleep(1)
        order = without_the_call(kind)
        with pytest.raises(HistoryDiverges) as error:
            replay(engine.history("new"), order)
        verdict = error.value.verdict
        assert (verdict.outcome, verdict.seq) == ("diverges", 4)
        assert "did not ask for patched('new check') by here" in verdict.why
        assert "patched('new check', retired=True)" in verdict.why
        patched(kind)


def test_a_call_that_fails_goes_the_new_way_when_it_is_retried() -> None:
    @workflow(name="patches.failing")
    async def failing() -> str:
        await note("a")
        raise ValueError("a defect")

    def mended() -> Any:
        @workflow(name="patches.failing")
        async def failing() -> str:
            await note("a")
            if everlog.patched("mended"):
                return await note("mended")
            raise ValueError("a defect")

        return failing

    with VirtualEngine() as engine:
        handle = engine.start(failing.options(id="f"))
        with pytest.raises(everlog.WorkflowFailed):
            handle.result()
        mended()
        engine.restart()
        engine.retry("f")
        assert engine.handle("f").result() == "mended"
        assert CALLS == ["a", "mended"]


def test_all_calls_of_a_name_give_one_answer_until_it_continues_as_new() -> None:
    def flow(*, new: bool) -> Any:
        @workflow(name="patches.rounds")
        async def rounds(lives: int = 0) -> list[bool]:
            found: list[bool] = []
            for _ in range(3):
                await note("round")
                if new:
                    found.append(everlog.patched("rounds"))
                    await asyncio.sleep(0)
            await everlog.recv("go", type=str)
            if lives == 0:
                everlog.continue_as_new(rounds, 1)
            return found

        return rounds

    with VirtualEngine() as engine:
        engine.start(flow(new=False).options(id="r"))
        engine.sleep(1)
        flow(new=True)
        engine.restart()
        engine.send("r", "go", "1")
        engine.send("r", "go", "2")
        assert engine.handle("r").result() == [True] * 3  # of its second life
        events = [event.type for event in engine.handle("r").history()]
        assert events.index("workflow_continued") < events.index("patch_marked")


def test_a_call_put_before_where_it_was_recorded_is_found() -> None:
    def flow(*, early: bool) -> Any:
        @workflow(name="patches.moved")
        async def moved() -> None:
            if early:
                everlog.patched("moved")
            await note("a")
            everlog.patched("moved")
            await everlog.recv("go", type=str)

        return moved

    with VirtualEngine() as engine:
        engine.start(flow(early=False).options(id="m"))
        engine.sleep(1)
        with pytest.raises(HistoryDiverges) as error:
            replay(engine.history("m"), flow(early=True))
        verdict = error.value.verdict
        assert (verdict.outcome, verdict.seq) == ("diverges", 3)
        assert "patched('moved') at " in verdict.why
        flow(early=False)


@workflow(name="patches.stored")
async def stored() -> str:
    return await note("new" if everlog.patched("stored") else "old")


class Stubborn(FlakyStore):
    """A store that does not take the first markers that it is given."""

    refusals = 3

    def commit(self, batch: Batch) -> BatchOutcome:
        marks = any(row.type == "patch_marked" for one in batch.commits for row in one.events)
        if marks and self.refusals:
            self.refusals -= 1
            CALLS.append("no marker yet")
            raise StoreUnavailable("it is down, as the test asked")
        return super().commit(batch)


@on_both_stores
def test_no_step_begins_before_its_marker_is_durable(kind: str, tmp_path: Any) -> None:
    async def program(engine: everlog.Engine) -> str:
        return await engine.run(stored.options(id="s"))

    assert run(program, kind=kind, folder=tmp_path, store=Stubborn) == "new"
    assert ["no marker yet"] * Stubborn.refusals + ["new"] == CALLS


def test_it_is_refused_outside_of_workflows() -> None:
    with pytest.raises(WrongContext, match="only workflows may have begun with other code"):
        everlog.patched("x")
