"""Workflows that send to each other in numbers: `python posting.py DATABASE` is a worker for them.

Every sender numbers what it sends to each receiver; a receiver gives back what it received, in its order.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Sequence
from functools import partial
from typing import Final

import everlog
from everlog import Engine, workflow

BURST: Final = 50
"""So many messages are sent at once."""
SERVING: Final = "serving"
"""What a worker prints when it may be told to end."""


@workflow(name="posting.send")
async def send(sender: int, receivers: int, messages: int) -> None:
    """Send so many messages, to all receivers in turn."""
    for begin in range(0, messages, BURST):
        burst = range(begin, min(begin + BURST, messages))
        await asyncio.gather(*(_send_one(sender, number, receivers) for number in burst))


async def _send_one(sender: int, number: int, receivers: int) -> None:
    turn, receiver = divmod(number, receivers)
    await everlog.send(receiver_id(receiver), "post", [sender, turn])


@workflow(name="posting.receive")
async def receive(messages: int) -> list[list[int]]:
    """Receive so many messages; give each as sender and number."""
    return [await everlog.recv("post", type=list[int]) for _ in range(messages)]


def receiver_id(number: int) -> str:
    return f"receiver-{number}"


async def begin(url: str, senders: int, receivers: int, messages: int) -> None:
    """Create the workflows: each sender sends `messages`, which is a multiple of the number of receivers."""
    expected = senders * messages // receivers
    async with everlog.Client(url) as client:
        await asyncio.gather(
            *(client.start(receive.options(id=receiver_id(number)), expected) for number in range(receivers))
        )
        await asyncio.gather(
            *(
                client.start(send.options(id=f"sender-{number}"), number, receivers, messages)
                for number in range(senders)
            )
        )


async def left(url: str) -> int:
    """Give how many workflows have not ended."""
    async with everlog.Client(url) as client:
        states = [status.state async for status in client.workflows()]
    return len(states) - states.count("completed")


async def received(url: str, receivers: int) -> list[list[list[int]]]:
    """Give what each receiver received."""
    async with everlog.Client(url) as client:
        return [await client.handle(receiver_id(number), receive).result(timeout=10) for number in range(receivers)]


def as_sent(received: Sequence[Sequence[int]], senders: int, each: int) -> bool:
    """Tell whether a receiver received all that each sender sent to it, once, and in the order of sending."""
    by_sender: dict[int, list[int]] = {sender: [] for sender in range(senders)}
    for sender, number in received:
        by_sender[sender].append(number)
    return all(numbers == list(range(each)) for numbers in by_sender.values())


def _end_with_parent() -> None:
    """Wait for the end of what the parent holds open, so that no worker outlives the tests."""
    sys.stdin.read()
    os._exit(1)


async def _main() -> None:
    logging.basicConfig(level=logging.INFO)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    async with Engine(sys.argv[1], workflows=[send, receive]) as engine:
        asyncio.get_running_loop().call_soon(partial(print, SERVING, flush=True))  # by then serve() listens for signals
        await engine.serve()


if __name__ == "__main__":
    asyncio.run(_main())
