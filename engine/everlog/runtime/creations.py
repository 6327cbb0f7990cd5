"""Creations: how a client has a workflow created, once, or finds the one that stands for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from everlog.core.events import WorkflowCreated
from everlog.errors import EverlogError, NotFound, StoreUnavailable
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.placing import AT_ONCE, Placing
from everlog.runtime.amending import first_event
from everlog.runtime.births import birth
from everlog.runtime.committer import PendingCreate
from everlog.runtime.controls import PAUSE, TRIES
from everlog.runtime.deduplication import Otherwise, holder_of_key
from everlog.runtime.inputs import different_start
from everlog.runtime.places import in_place
from everlog.runtime.queue_book import unknown_queue
from everlog.runtime.shell import Shell
from everlog.runtime.slots import name_of
from everlog.store import CreateOutcome, Deduplicated, Done, Exists

if TYPE_CHECKING:
    from everlog.runtime.client import Client

Resolve = Callable[[Any], None]


class Creations:
    """Creates workflows in the name of a client. `asked` runs a function on the engine's thread until it resolves."""

    def __init__(
        self,
        client: Client,
        asked: Callable[[Callable[[Resolve], None]], Awaitable[Any]],
        shell: Callable[[], Shell],
    ) -> None:
        self._client = client
        self._asked = asked
        self._shell = shell

    async def create(self, workflow_id: str, created: WorkflowCreated, definition: AnyWorkflow[..., Any]) -> str:
        """Create a workflow, and give its id, or that of the one that has its `dedup_key`."""
        outcome = await self.make(workflow_id, created, definition.placing)
        if isinstance(outcome, str):
            return outcome
        if isinstance(outcome, Exists):
            recorded = await self._client.on_thread(partial(first_event, self._client.store, workflow_id))
            error = different_start(recorded, created, definition, self._client.codec, workflow_id)
            if error is not None:
                raise error
        return workflow_id

    async def make(self, workflow_id: str, created: WorkflowCreated, placing: Placing = AT_ONCE) -> Done | Exists | str:
        """Create a workflow where there is none of that id; give the id of the one that has its `dedup_key`."""
        takes_key = False
        for _ in range(TRIES):
            create = partial(self._create, workflow_id, created, placing, takes_key)
            outcome: CreateOutcome = await self._asked(create)
            if not isinstance(outcome, Deduplicated):
                return outcome
            client = self._client
            find = partial(holder_of_key, client.store, outcome.head, created, placing, by=client.name)
            found = await client.on_thread(find)
            if isinstance(found, str):
                return found
            takes_key = found is Otherwise.TAKE_KEY
            if not takes_key:
                await asyncio.sleep(PAUSE)
        raise StoreUnavailable(
            f"the workflow that has the dedup_key {placing.dedup_key!r} could not be written to within "
            f"{TRIES * PAUSE:g} s: another transaction, idle perhaps, has locked its row of the database; end that "
            "transaction, or try again"
        )

    def _create(
        self, workflow_id: str, created: WorkflowCreated, placing: Placing, takes_key: bool, resolve: Resolve
    ) -> None:
        """On the engine's thread."""
        shell = self._shell()
        if placing.queue is not None and shell.book.use(placing.queue) is None:
            raise NotFound(unknown_queue(name_of(placing.queue)))
        now = shell.store.now()
        placed = in_place(created, placing, now)
        made = birth(workflow_id, placed, now, self._client.host, shell.worker, takes_key=takes_key)

        def answer(outcome: CreateOutcome | EverlogError) -> None:
            made.settle(isinstance(outcome, Done))
            resolve(outcome)

        shell.committer.create(PendingCreate(made.new, answer))
