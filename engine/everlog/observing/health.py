"""Health: whether an engine lives, and whether it can do its work. It measures nothing, and restarts nobody."""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import Struct

from everlog.errors import StoreError, UsageError
from everlog.runtime.client import Client

PATIENCE: Final = 5.0
"""Seconds in which the engine's thread has to answer."""
NOBODY: Final = "everlog-health"
"""The id of no workflow."""


class Health(Struct, frozen=True, kw_only=True):
    """Whether all is well, and a sentence that says so or what is not."""

    ok: bool
    why: str


async def live(client: Client, *, timeout: float = PATIENCE) -> Health:
    """Tell whether the engine's thread answers within `timeout` seconds; the database may be away.

    One that does not is held up by workflow code that does not return, and its lease runs out: restart the process.
    """
    try:
        async with asyncio.timeout(timeout):
            await client.on_thread(lambda: None)
    except TimeoutError:
        return Health(ok=False, why=f"the engine's thread has not answered for {timeout:g} s")
    except (StoreError, UsageError) as error:
        return Health(ok=False, why=str(error))
    return Health(ok=True, why="the engine's thread answers")


async def ready(client: Client, *, timeout: float = PATIENCE) -> Health:
    """Tell whether the database answers, and whether the engine may begin work: it holds its lease, and is not closing.

    A client, which has no lease, is ready where the database answers.
    """
    try:
        async with asyncio.timeout(timeout):
            return await client.on_thread(lambda: _ready(client))
    except TimeoutError:
        return Health(ok=False, why=f"the database, or the engine's thread, has not answered for {timeout:g} s")
    except (StoreError, UsageError) as error:
        return Health(ok=False, why=str(error))


def _ready(client: Client) -> Health:
    client.store.heads([NOBODY])  # reaches the database, and finds nothing
    worker = client.worker_here()
    if worker is None:
        return Health(ok=True, why="the database answers")
    name = worker.settings.worker
    if worker.draining:
        return Health(ok=False, why=f"worker {name} is being closed, and starts nothing")
    if not (worker.may_start and worker.holds_lease()):
        return Health(ok=False, why=f"worker {name} is past its lease, and starts nothing until it has renewed it")
    return Health(ok=True, why=f"the database answers, and worker {name} holds its lease")
