"""Traffic: whoever starts workflows, sends them messages, cancels and forks them, and notes what was acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from random import Random
from typing import Any, TypeVar

from everlog import Client, WorkflowCancelled
from everlog.errors import StoreUnavailable
from tests.soak import town
from tests.soak.ledger import Ledger

T = TypeVar("T")


class Traffic:
    """So many lines of workflows, one after the other in each, until told to end."""

    def __init__(self, client: Client, ledger: Ledger, random: Random) -> None:
        self._client = client
        self._ledger = ledger
        self._random = random
        self._numbers = count(1)
        self.over = False
        self.ended = 0

    async def flow(self, lines: int) -> None:
        """Be all lines at once; return when each has seen its last end."""
        async with asyncio.TaskGroup() as group:
            for _ in range(lines):
                group.create_task(self._line())

    async def _line(self) -> None:
        kinds = [self._order, self._order, self._order, self._mailbox, self._patient, self._rounds, self._forked]
        while not self.over:
            number = next(self._numbers)
            await self._random.choice(kinds)(number)
            self.ended += 1

    async def _order(self, number: int) -> None:
        workflow_id = f"order-{number}"
        handle = await self._started(workflow_id, town.order, workflow_id, number, expected=10 * number + 6)
        await _again(handle.result)

    async def _rounds(self, number: int) -> None:
        workflow_id, times = f"rounds-{number}", number % 4
        expected = sum(range(times + 1))
        handle = await self._started(workflow_id, town.rounds, times, 0, expected=expected)
        await _again(handle.result)

    async def _mailbox(self, number: int) -> None:
        workflow_id = f"mailbox-{number}"
        handle = await self._started(workflow_id, town.mailbox, town.SENDERS * town.LETTERS, expected=None)

        async def send(sender: int) -> None:
            for letter in range(town.LETTERS):
                await _again(partial(handle.send, "letters", [sender, letter], key=f"{sender}-{letter}"))
                self._ledger.write("sent", workflow_id, sender, letter)
                await asyncio.sleep(self._random.random() / 5)

        await asyncio.gather(*(send(sender) for sender in range(town.SENDERS)))
        await _again(handle.result)

    async def _patient(self, number: int) -> None:
        workflow_id = f"patient-{number}"
        handle = await self._started(workflow_id, town.patient, expected=None)
        await asyncio.sleep(self._random.random() * 3)
        await _again(handle.cancel)
        self._ledger.write("cancelled", workflow_id)
        try:
            await _again(handle.result)
        except WorkflowCancelled:
            return
        raise SystemExit(f"{workflow_id} came to an end that is no cancellation")

    async def _forked(self, number: int) -> None:
        workflow_id = f"order-{number}"
        handle = await self._started(workflow_id, town.order, workflow_id, number, expected=10 * number + 6)
        await _again(handle.result)
        fork_id, at = f"fork-of-{workflow_id}", self._random.randint(2, 8)
        fork = await _again(lambda: handle.fork(at=at, id=fork_id))
        self._ledger.write("started", fork_id, 10 * number + 6)
        await _again(fork.result)

    async def _started(self, workflow_id: str, definition: Any, *args: object, expected: int | None) -> Any:
        handle = await _again(lambda: self._client.start(definition.options(id=workflow_id), *args))
        self._ledger.write("started", workflow_id, expected)
        return handle


async def _again(call: Callable[[], Awaitable[T]]) -> T:
    """Do what a user does whose call failed: it is repeated, with the same id or key."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(0.1)
