"""An expense claim that waits, for days if need be, for a person's decision."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import everlog
from everlog import Client, Engine, step, workflow


@dataclass
class Decision:
    verdict: Literal["approve", "reject"]
    by: str
    note: str = ""


@step
async def pay(employee: str, cents: int) -> str:
    return f"paid {cents} to {employee}"


@step
async def mail(to: str, text: str) -> None: ...


@workflow
async def claim(employee: str, cents: int) -> str:
    await everlog.set_value("state", "waiting for approval")
    decision = await everlog.recv(
        "decision",
        type=Decision,
        timeout=timedelta(days=7),
        default=Decision("reject", by="clock"),
        title=f"{employee} asks for {cents / 100:.2f}",
        metadata={"team": "finance"},
    )
    if decision.verdict == "reject":
        await mail(employee, f"Rejected by {decision.by}. {decision.note}")
        return "rejected"
    return await pay(employee, cents)


async def inbox(client: Client) -> None:
    """What the web page of the finance team does; it needs no workflow code."""
    async for wait in client.waits(topic="decision"):
        assert wait.title == "bob asks for 42.00", wait.deadline
        await client.answer(wait.token, Decision("approve", by="ann"))


async def main(url: str) -> list[str]:
    async with Engine(url) as engine:
        handle = await engine.start(claim, "bob", 4200)
        assert await handle.get_value("state", type=str) == "waiting for approval"
        async with Client(url) as client:
            await inbox(client)
        return [await handle.result()]


EXPECTED = ["paid 4200 to bob"]

if __name__ == "__main__":
    print(asyncio.run(main("sqlite:///claims.db")))
