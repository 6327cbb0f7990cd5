"""Forks: the handle of a fork has the type of the one that it is made with."""

from __future__ import annotations

from typing import assert_type

from everlog import Client, ForkPreview, Handle, WorkflowStatus, step, sync, workflow


@step
async def charge(card: str) -> str:
    return card


@workflow
async def checkout(order: int) -> str:
    return await charge(f"{order}")


async def correct(client: Client) -> None:
    handle = await client.start(checkout, 1)
    assert_type(await handle.fork(), Handle[str])
    assert_type(await handle.fork(at=3, id="again", messages="drop", children="keep"), Handle[str])
    assert_type(await (await handle.fork(at="charge")).result(), str)
    changes: dict[str, str] = {"charge": "gold"}
    await handle.fork(replace=changes)
    by_seq = {3: "gold"}
    await handle.fork(replace=by_seq)
    mixed: dict[int | str, object] = {3: "gold", "input": {"order": 2}}
    await handle.fork(replace=mixed)
    await handle.fork(replace={"charge": ValueError("declined")})
    assert_type(await client.workflows(forked_from=handle.id), list[WorkflowStatus])
    assert_type((await handle.status()).forked_from, str | None)
    assert_type(await handle.fork(at="failure", version="2"), Handle[str])
    assert_type((await handle.preview_fork(at=3)).again, list[str])


def correct_blocking(client: sync.Client) -> None:
    handle = client.start(checkout, 1)
    assert_type(handle.fork(at=3, replace={"charge": "gold"}), sync.Handle[str])
    assert_type(handle.preview_fork(version="2"), ForkPreview)
