"""The other process: reads histories, one JSON object on each line, replays each, and answers with a line each.

Its heap is stirred before and during every replay, so that nothing that goes by memory address goes twice alike.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
import traceback
from random import Random
from typing import Any

from everlog.core.codec import JsonCodec
from everlog.core.event_codec import decode_event
from everlog.core.events import AnyEvent, WorkflowContinued
from everlog.core.rewinding import Stored, folded
from everlog.replay.divergence import CannotGoOn
from everlog.replay.drafting import take_dispatches
from everlog.replay.environment import Environment
from everlog.replay.execution import Execution
from everlog.replay.registry import defining_packages, registered_workflows
from everlog.runtime.claims import first_creation

DEFINING = "tests.property.interpreter"
BLOCKING = "tests.property.blocking_interpreter"


class Stirrer:
    """Allocates and frees objects of many sizes, and keeps some."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.kept: list[Any] = [None] * 1000

    def stir(self, objects: int) -> None:
        """Leave the heap otherwise than it was."""
        for _ in range(objects):
            self.kept[int(self.chance.random() * 1000)] = _Thing(int(self.chance.random() * 12))


class _Thing:
    def __init__(self, size: int) -> None:
        self.inside = [object() for _ in range(size)]
        self.more = bytearray(16 * size)
        self.names = {str(number): None for number in range(size)}


def replay(recorded: dict[str, Any], stirrer: Stirrer) -> None:
    """Replay one history, life by life; raise where anything is otherwise than it was."""
    rows = [(seq, at, decode_event(payload.encode())) for seq, at, payload in recorded["rows"]]
    begins = [place for place, (_, _, event) in enumerate(rows) if isinstance(event, WorkflowContinued)]
    for first, last in zip([0, *begins], [*begins, len(rows) - 1], strict=True):
        replay_life(recorded, rows[first : last + 1], stirrer)


def replay_life(recorded: dict[str, Any], rows: list[Stored], stirrer: Stirrer) -> None:
    """Replay what lies between two rows with which the workflow continued, or was created, or where it is now."""
    continues = len(rows) > 1 and isinstance(rows[-1][2], WorkflowContinued)
    created = first_creation(recorded["id"], rows)
    environment = Environment(
        codec=JsonCodec(),
        may_import=lambda package: package in defining_packages(),
        python=platform.python_version(),
    )
    stirrer.stir(300)
    definition = registered_workflows()[created.name]
    execution = Execution(recorded["id"], created, definition, environment, first_seq=rows[0][0])
    apply = execution.apply

    def stirred(seq: int, recorded_at: int, event: AnyEvent) -> None:
        stirrer.stir(8)
        apply(seq, recorded_at, event)

    execution.apply = stirred  # type: ignore[method-assign] # what a replay does with each row
    try:
        execution.replay(rows)
        ended = continues or recorded["state"] in ("completed", "failed", "cancelled")
        assert ended == (execution.outcome is not None), f"{recorded['state']}, but {execution.outcome}"
        if ended:
            assert not execution.operations, list(execution.operations)
            assert not take_dispatches(execution)
        else:
            opened = set(folded(rows).open)
            there = {one.identity for one in execution.operations.values() if one.recorded}
            there |= {one.identity for one in execution.cancelled.values() if one.recorded}
            assert opened == there, f"open in the history: {sorted(opened)}, in the code: {sorted(there)}"
        children, known = folded(rows).children, execution.children.open
        assert children.keys() == known.keys(), f"children of the history: {[*children]}, of the code: {[*known]}"
        asked = [one.asked or (continues and one.is_to_be_asked()) for one in known.values()]
        assert [one.asked for one in children.values()] == asked
    finally:
        execution.tear_down()


def main() -> None:
    """Answer until the input ends."""
    module: Any = importlib.import_module(DEFINING)
    module.steps_are_forbidden = True
    importlib.import_module(BLOCKING)
    for name in sys.argv[2:]:
        importlib.import_module(name)
    stirrer = Stirrer(int(sys.argv[1]))
    for line in sys.stdin:
        try:
            replay(json.loads(line), stirrer)
            answer: dict[str, Any] = {"ok": True}
        except CannotGoOn as stuck:
            answer = {"ok": False, "why": stuck.why}
        except BaseException:
            answer = {"ok": False, "why": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
