"""Bulk forks: `everlog fork --state failed --name N` forks each workflow that fits. A single fork is in `forks`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from everlog.cli import choosing
from everlog.cli.choosing import Chosen
from everlog.cli.places import opened, store_url
from everlog.core.codec import Codec, digest, to_json
from everlog.core.event_forks import KeptMessages, OpenChildren
from everlog.core.names import LONGEST
from everlog.errors import EverlogError
from everlog.runtime.client import Client
from everlog.runtime.fork_previews import ForkPreview
from everlog.runtime.fork_sources import FAILURE
from everlog.store import Store

DIFFERS = 1


class ManyForks(Struct, frozen=True, kw_only=True):
    """What the command was given."""

    filters: Mapping[str, Any]
    at: str
    replace: Mapping[int | str, object]
    messages: KeptMessages
    children: OpenChildren
    version: str | None
    limit: int
    dry_run: bool
    codec: Codec | None = None
    yes: bool


def fork_many(order: ManyForks, place: str | None) -> int:
    """Make the forks and print how many; exit code 1 where some could not be made."""
    choosing.must_choose([], order.filters, "forked")
    with opened(store_url(place)) as store:
        found = choosing.find(store, order.filters, order.limit)
        if not found:
            print("no workflows that fit")
            return 0
        print(choosing.told_many(found, "forked"))
        if order.dry_run:
            shown = found[: choosing.SHOWN_FIRST]
            previews, refused = asyncio.run(_preview(store, order, shown))
            for workflow_id, preview in previews.items():
                print(f"{workflow_id}: {len(preview.kept)} kept, {len(preview.again)} again")
            return _told_refused(refused)
        if not choosing.may_go_on("forked", len(found), yes=order.yes):
            return 0
        made, refused = asyncio.run(_fork(store, order, found))
    print(f"{len(made)} forked; the same command again makes none of them twice")
    return _told_refused(refused)


def fork_id(order: ManyForks, one: Chosen) -> str:
    """Give the id of a fork: of the same workflow as it is now, and the same order, the same."""
    replace = sorted((str(name), to_json(value).decode()) for name, value in order.replace.items())
    asked = [one.workflow_id, one.seq, order.at, replace, order.messages, order.children, order.version]
    ending = f"~{digest(to_json(asked))[:10]}"
    return one.workflow_id[: LONGEST - len(ending)] + ending


async def _fork(store: Store, order: ManyForks, found: Sequence[Chosen]) -> tuple[list[str], dict[str, str]]:
    made: list[str] = []
    refused: dict[str, str] = {}
    async with Client(store, codec=order.codec) as client:
        for one in found:
            try:
                fork = await client.handle(one.workflow_id).fork(
                    at=_at(order),
                    replace=order.replace,
                    messages=order.messages,
                    children=order.children,
                    version=order.version,
                    id=fork_id(order, one),
                )
            except EverlogError as error:
                refused[one.workflow_id] = str(error)
            else:
                made.append(fork.id)
    return made, refused


async def _preview(
    store: Store, order: ManyForks, found: Sequence[Chosen]
) -> tuple[dict[str, ForkPreview], dict[str, str]]:
    previews: dict[str, ForkPreview] = {}
    refused: dict[str, str] = {}
    async with Client(store, codec=order.codec) as client:
        for one in found:
            try:
                previews[one.workflow_id] = await client.handle(one.workflow_id).preview_fork(
                    at=_at(order),
                    replace=order.replace,
                    messages=order.messages,
                    children=order.children,
                    version=order.version,
                )
            except EverlogError as error:
                refused[one.workflow_id] = str(error)
    return previews, refused


def _at(order: ManyForks) -> int | str:
    return int(order.at) if order.at.isdecimal() else order.at


def _told_refused(refused: Mapping[str, str]) -> int:
    for workflow_id, why in refused.items():
        print(f"not {workflow_id}: {why}")
    return DIFFERS if refused else 0


DEFAULT_CUT = FAILURE
