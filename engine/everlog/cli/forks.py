"""`everlog fork`: a new workflow from the first part of another's history, made from the command line."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from everlog.cli.code import load_modules
from everlog.cli.places import head_of, opened, store_url
from everlog.cli.text import paragraph
from everlog.core.codec import Codec
from everlog.core.event_codec import decode_event
from everlog.core.event_forks import KeptMessages, OpenChildren
from everlog.core.events import WorkflowForked
from everlog.core.forking import Written, operation_of
from everlog.errors import UsageError
from everlog.runtime.client import Client
from everlog.runtime.fork_previews import ForkPreview
from everlog.store import Store

MOST = 20
"""So many operations of each kind are named."""


class ForkOrder(Struct, frozen=True, kw_only=True):
    """What the command was given."""

    workflow_id: str
    at: str | None
    replace: Sequence[str]
    id: str | None
    messages: KeptMessages
    children: OpenChildren
    modules: Sequence[str]
    version: str | None = None
    dry_run: bool = False
    codec: Codec | None = None


def fork_workflow(order: ForkOrder, place: str | None) -> None:
    """Make the fork, and print what it has of the other workflow, and what runs again."""
    url = store_url(place)
    replace = replacements(order.replace)
    load_modules(order.modules)
    with opened(url) as store:
        head_of(store, order.workflow_id, url)
        if order.dry_run:
            print("\n".join(told_preview(order.workflow_id, asyncio.run(_preview(store, order, replace)))))
            return
        fork_id = asyncio.run(_fork(store, order, replace))
        lines = _told(store, order, fork_id)
    print("\n".join(lines))
    at = f" --db {shlex.quote(place)}" if place else ""
    print(f"\nSide by side: everlog diff {shlex.quote(order.workflow_id)} {shlex.quote(fork_id)}{at}")


async def _fork(store: Store, order: ForkOrder, replace: dict[int | str, object]) -> str:
    async with Client(store, codec=order.codec) as client:
        fork = await client.handle(order.workflow_id).fork(
            at=_cut(order),
            replace=replace,
            messages=order.messages,
            children=order.children,
            version=order.version,
            id=order.id,
        )
        return fork.id


async def _preview(store: Store, order: ForkOrder, replace: dict[int | str, object]) -> ForkPreview:
    async with Client(store, codec=order.codec) as client:
        return await client.handle(order.workflow_id).preview_fork(
            at=_cut(order),
            replace=replace,
            messages=order.messages,
            children=order.children,
            version=order.version,
        )


def _cut(order: ForkOrder) -> int | str | None:
    return int(order.at) if order.at is not None and order.at.isdecimal() else order.at


def told_preview(workflow_id: str, preview: ForkPreview) -> list[str]:
    """Give what a fork would be as lines."""
    lines = paragraph("would be", f"a fork of {workflow_id}, with its events up to {preview.at}")
    for label, operations in (("kept", preview.kept), ("replaced", preview.replaced), ("again", preview.again)):
        shown = ", ".join(operations[:MOST])
        more = f", and {len(operations) - MOST} more" if len(operations) > MOST else ""
        lines += paragraph(label, f"{len(operations)}: {shown}{more}" if operations else "nothing")
    return lines


def replacements(given: Sequence[str]) -> dict[int | str, object]:
    """Read `NAME=JSON`, where the name is an operation, the seq of an event, or `input`."""
    found: dict[int | str, object] = {}
    for one in given:
        name, separator, text = one.partition("=")
        if not separator or not name:
            raise UsageError(f"a replacement is said as KEY=JSON, such as charge=42, got {one!r}")
        try:
            msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise UsageError(f"{text!r} is no JSON ({error}); a text has quotation marks: {name}='\"yes\"'") from error
        found[int(name) if name.isdecimal() else name] = Written(text.encode())
    return found


def _told(store: Store, order: ForkOrder, fork_id: str) -> list[str]:
    history = [(row.seq, decode_event(row.payload)) for row in store.read(fork_id)]
    own = [event for _, event in history if isinstance(event, WorkflowForked)][-1]
    by_seq = dict(history)
    lines = [*paragraph("fork", fork_id), *paragraph("of", f"{order.workflow_id}, whose events up to {own.at} it has")]
    if own.replaced:
        named = [operation_of(by_seq[seq]) or "input" for seq in own.replaced]
        lines += paragraph("replaced", ", ".join(named))
    void = [operation_of(by_seq[seq]) for seq in own.void]
    again = list(dict.fromkeys(one for one in void if one is not None))
    if again:
        lines += paragraph("again", ", ".join(again))
    if own.replaced and not order.modules:
        lines += paragraph("", "All that came after is done again; with --module, only what depends on that.")
    now = store.now()
    if not any(worker.lease_until > now and not worker.gone for worker in store.workers()):
        lines += paragraph("", "No worker is running on this database; an engine that knows the code runs the fork.")
    return lines
