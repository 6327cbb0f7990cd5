"""Attributes and filters that are none; each marked line has to be an error."""

from __future__ import annotations

from everlog import Client, sync, workflow


@workflow
async def checkout(order: int) -> str:
    return str(order)


@workflow(attributes={"a": {"b": 1}})  # error
async def nested(order: int) -> str:
    return str(order)


async def find(client: Client, blocking: sync.Client) -> None:
    checkout.options(attributes={1: "a"})  # error
    checkout.options(attributes=["a"])  # error
    checkout.options(attributes=None)  # error
    handle = await client.start(checkout, 1)
    await handle.update({"a": 1})  # error
    await handle.update(attributes={"a": object()})  # error
    await client.workflows(state="fail")  # error
    await client.workflows(states="failed")  # error
    await client.workflows(state=["failed", "over"])  # error
    await client.workflows(created_after=12)  # error
    await client.workflows(newest_first="yes")  # error
    await client.counts(newest_first=True)  # error
    await client.counts(parent=1)  # error
    blocking.workflows(attributes="a")  # error
    (await client.counts()).by_state["over"]  # error
