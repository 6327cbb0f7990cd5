"""Forks that are none; each marked line has to be an error."""

from __future__ import annotations

from everlog import Client, sync, workflow


@workflow
async def checkout(order: int) -> str:
    return str(order)


async def fork(client: Client, blocking: sync.Client) -> None:
    handle = await client.start(checkout, 1)
    await handle.fork(3)  # error
    await handle.fork(at=3.5)  # error
    await handle.fork(messages="lose")  # error
    await handle.fork(children="sell")  # error
    await handle.fork(replace=["charge"])  # error
    await handle.fork(id=7)  # error
    await handle.fork(version=2)  # error
    await handle.preview_fork(id="a")  # error
    await client.workflows(forked_from=7)  # error
    blocking.start(checkout, 1).fork(messages="lose")  # error
