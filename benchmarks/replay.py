"""Replay: how long a history of 10,000 recorded steps takes to be read as events and replayed, in memory."""

from __future__ import annotations

import json
from time import perf_counter

from msgspec import Raw

from benchmarks.measuring import report
from everlog import step, workflow
from everlog.core import events
from everlog.core.codec import JsonCodec
from everlog.core.event_codec import decode_event, encode_event
from everlog.core.events import AnyEvent
from everlog.replay.environment import Environment
from everlog.replay.execution import Execution

STEPS = 10_000


@step
async def add(total: int, number: int) -> int:
    return total + number


@workflow
async def count(steps: int) -> int:
    total = 0
    for number in range(steps):
        total = await add(total, number)
    return total


def history(steps: int) -> list[bytes]:
    """Give the rows of a workflow that has run so many steps and goes on."""
    recorded: list[AnyEvent] = [
        events.WorkflowCreated(name=count.name, input=Raw(json.dumps({"steps": steps + 1}).encode()), seed="seed"),
        events.WorkflowBegan(format=events.FORMAT, everlog="", python="", build="", worker=""),
    ]
    total = 0
    for number in range(steps):
        given = json.dumps({"total": total, "number": number}).encode()
        total += number
        recorded.append(
            events.StepCompleted(
                operation="add" if number == 0 else f"add#{number + 1}",
                step=add.name,
                attempt=1,
                started_at=1,
                input=Raw(given),
                result=Raw(str(total).encode()),
            )
        )
    return [encode_event(event) for event in recorded]


def main() -> None:
    rows = history(STEPS)
    environment = Environment(codec=JsonCodec(), may_import=lambda package: True)
    seconds: list[float] = []
    for _ in range(5):
        begun = perf_counter()
        decoded = [(seq, seq, decode_event(row)) for seq, row in enumerate(rows, start=1)]
        created = decoded[0][2]
        assert isinstance(created, events.WorkflowCreated)
        execution = Execution("replayed", created, count, environment)
        execution.replay(decoded)
        seconds.append(perf_counter() - begun)
        if f"add#{STEPS + 1}" not in execution.open_now():
            raise SystemExit(f"the history was not replayed: {execution.open_now()}")
        execution.tear_down()
    report(replays=1 / sorted(seconds)[2])


if __name__ == "__main__":
    main()
