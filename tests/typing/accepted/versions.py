"""Versions and patches: the options keep the types of what they are options of."""

from __future__ import annotations

from typing import assert_type

import everlog
from everlog import Client, Handle, SyncWorkflow, Workflow, sync, workflow


@workflow(name="checkout", version="2")
async def checkout(order: int) -> str:
    if everlog.patched("tax"):
        return str(order)
    everlog.patched("shipping", retired=True)
    return everlog.current().version or "any"


@workflow(version="1")
def plain(order: int) -> bool:
    return sync.patched("tax") and sync.current().version == "1"


older: Workflow[[int], str] = checkout.options(version="1")
any_code: SyncWorkflow[[int], bool] = plain.options(version=None)


async def several(client: Client, blocking: sync.Client) -> None:
    handle = await client.start(checkout.options(version="1"), 1)
    assert_type(handle, Handle[str])
    await handle.retry(version="2")
    assert_type(await client.retry("a", "b", version="2"), list[str])
    assert_type(blocking.retry("a", version="2"), list[str])
    assert_type((await handle.status()).version, str | None)
    await client.workflows(name="checkout", version=["1", "2"])
    counts = await client.counts(name="checkout", version="1")
    print(counts.by_version["checkout"]["1"])
