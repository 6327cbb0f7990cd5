"""Versions and patches that are none; each marked line has to be an error."""

from __future__ import annotations

import everlog
from everlog import Client, workflow


@workflow(version="2")
async def checkout(order: int) -> str:
    everlog.patched(name="tax")  # error
    everlog.patched("tax", True)  # error
    return str(order)


@workflow(version=3)  # error
async def numbered() -> None: ...


async def several(client: Client) -> None:
    handle = await client.start(checkout.options(version=2), 1)  # error
    await handle.retry("2")  # error
    await client.workflows(name="checkout", version=2)  # error
