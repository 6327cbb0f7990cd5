"""Undoing what was done: a trip is booked in parts, and when one part fails the others are given back.

A step is tried again by its policy; what it raises at last arrives in the workflow as an ordinary exception.
"""

from __future__ import annotations

import asyncio

from everlog import Engine, RetryPolicy, WorkflowFailed, step, workflow


class SoldOut(Exception):
    """No room is left, and trying again will not change that."""


@step(retry=RetryPolicy(max_attempts=4, first_delay=0.1, give_up_on=(SoldOut,)), timeout=10)
async def book(part: str, nights: int) -> str:
    """Book one part."""
    if part == "hotel" and nights > 7:
        raise SoldOut(f"no {part} for {nights} nights")
    return f"{part} for {nights} nights"


@step(retry=RetryPolicy(max_attempts=None, max_delay=60))
async def give_back(booking: str) -> None:
    """Give one part back; tried until it succeeds."""
    print("given back:", booking)


@workflow
async def trip(nights: int) -> list[str]:
    """Book all parts, or none."""
    booked: list[str] = []
    try:
        for part in ("train", "car", "hotel"):
            booking = await book(part, nights)
            booked.append(booking)
    except SoldOut:
        for done in reversed(booked):
            await give_back(done)
        raise
    return booked


async def main() -> None:
    """Book a trip that works, and one that does not."""
    async with Engine("sqlite:///trips.db") as engine:
        print(await engine.run(trip, 3))
        try:
            await engine.run(trip, 30)
        except WorkflowFailed as failed:
            print(failed, "- caused by", repr(failed.__cause__))


if __name__ == "__main__":
    asyncio.run(main())
