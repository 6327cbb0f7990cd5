"""Time travel: of random programs, what the code has open at each event is what the history says is open then."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from everlog.core.event_codec import decode_event
from everlog.core.log_lines import Exported, read_lines, write_lines
from everlog.core.rewinding import folded, life_around
from everlog.testing import open_replay, replay, state_at
from tests.property import blocking_interpreter, interpreter
from tests.property.databases import LONG
from tests.property.programs import recipes
from tests.property.recording import record

# A program drops coroutines when a group refuses them; asyncio would warn as well.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


@pytest.fixture(autouse=True)
def no_step_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert blocking_interpreter  # which defines workflows
    monkeypatch.setattr(interpreter, "steps_are_forbidden", False)


@settings(max_examples=400 if LONG else 25)
@given(recipe=recipes(nodes=16))
def test_what_is_open_at_each_event_is_what_its_history_says(recipe: dict[str, Any]) -> None:
    for recorded in record(recipe):
        rows = [(seq, at, payload.encode()) for seq, at, payload in recorded["rows"]]
        name = next(event.name for event in (decode_event(payload) for _, _, payload in rows) if hasattr(event, "name"))
        history = read_lines(write_lines(recorded["id"], name, rows))
        interpreter.steps_are_forbidden = True
        try:
            assert replay(history).is_clean
            for seq, _, _ in rows:
                check_at(history, seq)
        finally:
            interpreter.steps_are_forbidden = False


def check_at(history: Exported, seq: int) -> None:
    decoded = [(number, at, decode_event(payload)) for number, at, payload in history.rows]
    life = [row for row in life_around(decoded, seq) if row[0] <= seq]
    with open_replay(history, at=seq) as opened:
        assert opened.run(seq) is None
        assert opened.seq == seq
        execution = opened.execution
        there = {one.identity for one in execution.operations.values() if one.recorded}
        there |= {one.identity for one in execution.cancelled.values() if one.recorded}
    assert there == set(folded(life).open)
    state = state_at(history, seq)
    assert (state.seq, state.stuck) == (seq, None)
    waiting = {task.waits_for for task in state.tasks}
    assert {one.operation for one in state.pending} >= {one for one in waiting if one and "task " not in one}
