"""`everlog retry`: workflows that failed, were cancelled or are stuck go on, one or many. No engine is run here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from everlog.cli import choosing
from everlog.cli.places import head_of, opened, store_url
from everlog.errors import EverlogError, UsageError
from everlog.runtime.client import Client
from everlog.store import Store

if TYPE_CHECKING:
    import argparse

    from everlog.cli.arguments import Commands

DIFFERS = 1


class RetryOrder(Struct, frozen=True, kw_only=True):
    """What the command was given."""

    ids: Sequence[str]
    filters: Mapping[str, Any]
    version: str | None
    limit: int
    dry_run: bool
    yes: bool


def add(commands: Commands, place: str) -> None:
    """Add the command."""
    text = (
        "Have workflows go on that failed, were cancelled or are stuck, from where they failed; an engine that knows"
        " the code runs them. With --version another version of the code does: also of those that wait for a worker"
        " with one that nobody runs any more. For example: everlog retry --state failed --name checkout --yes"
    )
    command = commands.add_parser("retry", help="have failed or stuck workflows go on", description=text)
    command.add_argument("id", nargs="*", help="the ids of workflows")
    choosing.add_filters(command, "retry")
    command.add_argument("--version", metavar="V", help="with this version of the code from now on")
    command.add_argument("--db", help=f"the database: {place}")


def run(chosen: argparse.Namespace) -> int:
    """Run the command, and give its exit code: 1 where some of many could not be retried."""
    order = RetryOrder(
        ids=chosen.id,
        filters=choosing.filters_of(chosen),
        version=chosen.version,
        limit=chosen.limit,
        dry_run=chosen.dry_run,
        yes=chosen.yes,
    )
    return retry_workflows(order, chosen.db)


def retry_workflows(order: RetryOrder, place: str | None) -> int:
    """Retry what is meant, and print what became of it."""
    choosing.must_choose(order.ids, order.filters, "retried")
    url = store_url(place)
    with opened(url) as store:
        if order.ids:
            for workflow_id in order.ids:
                head_of(store, workflow_id, url)
            wanted = list(order.ids)
        else:
            found = choosing.find(store, order.filters, order.limit)
            wanted = [one.workflow_id for one in found]
            if not found:
                print("no workflows that fit")
                return 0
            print(choosing.told_many(found, "retried"))
        if order.dry_run:
            return 0
        if not order.ids and not choosing.may_go_on("retried", len(wanted), yes=order.yes):
            return 0
        done, refused = asyncio.run(_retry(store, wanted, order.version))
    if order.ids and refused:
        raise UsageError("; ".join(refused.values()))
    print(f"{len(done)} retried" if len(done) != 1 else f"{done[0]} was retried")
    for workflow_id, why in refused.items():
        print(f"not {workflow_id}: {why}")
    return DIFFERS if refused else 0


async def _retry(store: Store, wanted: Sequence[str], version: str | None) -> tuple[list[str], dict[str, str]]:
    """Retry them one after the other; give those that were, and why the others were not."""
    done: list[str] = []
    refused: dict[str, str] = {}
    async with Client(store) as client:
        for workflow_id in wanted:
            try:
                if await client.retry(workflow_id, version=version):
                    done.append(workflow_id)
                else:
                    status = await client.handle(workflow_id).status()
                    held = "" if status.worker is None else ", and a worker holds it"
                    refused[workflow_id] = f"workflow {workflow_id!r} is {status.state}{held}, so it is not retried"
            except EverlogError as error:
                refused[workflow_id] = str(error)
    return done, refused
