"""Replays, code states and the virtual engine: which forms there are, and which types come back."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import assert_type

import everlog
from everlog import Engine, WorkflowStatus, step, sync, workflow
from everlog.testing import (
    CodeState,
    Exported,
    HistoryDiverges,
    Verdict,
    VirtualEngine,
    history_of,
    load_history,
    open_replay,
    replay,
    save_history,
    state_at,
)


@step
async def charge(cents: int) -> int:
    return cents


@workflow
async def order(cents: int, *, card: str = "") -> str:
    return f"{card} {await charge(cents)}"


@workflow
def report(day: str) -> list[int]:
    return [len(day)]


def hide(name: str, value: object) -> object:
    return None if name == "card" else value


async def keep(engine: Engine, path: Path) -> None:
    history = await history_of(engine, "order-1")
    assert_type(history, Exported)
    save_history(history, path)
    save_history(history, "order-1.jsonl")


def look(path: Path) -> list[str]:
    assert_type(load_history(path), Exported)
    assert_type(replay(path), Verdict)
    replay("order-1.jsonl", order)
    replay(load_history(path), report, codec=None)
    state = state_at(path, 7, workflow=order, redact=hide)
    assert_type(state, CodeState)
    with open_replay(path, at=3) as opened:
        while opened.advance():
            assert_type(opened.seq, int)
        opened.run(5)
    try:
        replay(path)
    except HistoryDiverges as error:
        assert_type(error.verdict.seq, int | None)
        return [side.code for side in error.verdict.sides]
    return [variable for task in state.tasks for frame in task.stack for variable in frame.variables.values()]


def test_order(everlog_engine: VirtualEngine) -> None:
    assert_type(everlog_engine.run(order, 5, card="4242"), str)
    assert_type(everlog_engine.run(report, "monday"), list[int])
    handle = everlog_engine.start(order.options(id="order-1"), 5)
    assert_type(handle, sync.Handle[str])
    assert_type(handle.status(), WorkflowStatus)
    everlog_engine.sleep(3600)
    everlog_engine.restart()
    assert_type(everlog_engine.now(), datetime)
    assert_type(everlog_engine.history("order-1"), Exported)
    assert_type(everlog_engine.replay(), int)
    with VirtualEngine(seed=3, replays=False, guards="warn", workflows=[order], queues=[everlog.Queue("mail")]) as own:
        own.send("order-1", "topic", 5)
