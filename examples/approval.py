"""Waiting for a person: an expense is approved, or rejected, or nobody answers in time.

python approval.py submit lunch 1800     start one, and wait for what becomes of it
python approval.py approve lunch         answer from another terminal, now or after a restart of the first
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

import everlog
from everlog import Client, Engine, step, workflow

DATABASE = "sqlite:///expenses.db"


@dataclass
class Decision:
    """What a person decided."""

    approved: bool
    by: str


@step
async def pay(what: str, cents: int) -> str:
    """Pay. The id of the workflow and the step make a key that is the same if the step has to run again.

    Where a workflow calls a step more than once, the `key=` of the call belongs to it too.
    """
    running = everlog.current()
    return f"paid {cents / 100:.2f} for {what}, reference {running.workflow_id}/{running.step}"


@workflow
async def expense(what: str, cents: int) -> str:
    """Pay what was approved within three days."""
    try:
        decision = await everlog.recv("decision", type=Decision, timeout=3 * 86400)
    except TimeoutError:
        return f"{what}: nobody answered"
    if not decision.approved:
        return f"{what}: rejected by {decision.by}"
    return await pay(what, cents)


async def submit(what: str, cents: int) -> None:
    """Run an expense to its end. The same name means the same expense."""
    async with Engine(DATABASE) as engine:
        handle = await engine.start(expense.options(id=f"expense-{what}"), what, cents)
        print(await handle.result())


async def decide(what: str, *, approved: bool) -> None:
    """Send a decision. A client runs no workflows, and need not know them."""
    async with Client(DATABASE) as client:
        await client.send(f"expense-{what}", "decision", Decision(approved, by="the boss"), key="decision")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["submit", what, cents]:
            asyncio.run(submit(what, int(cents)))
        case ["approve" | "reject" as verb, what]:
            asyncio.run(decide(what, approved=verb == "approve"))
        case _:
            sys.exit(__doc__)
