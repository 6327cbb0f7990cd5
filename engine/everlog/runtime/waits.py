"""Waits: what workflows wait for that people are to answer, as a client lists it, and how it brings an answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from everlog.core.asks import answer_topic
from everlog.core.codec import ANY, SELF, Codec, Mismatch
from everlog.core.durations import as_datetime
from everlog.core.schemas import misfit
from everlog.errors import NotFound, UsageError
from everlog.replay.sizes import check_size
from everlog.runtime.listing import Listing
from everlog.runtime.tokens import Named, named_by, token_for
from everlog.store import Duplicate, ListedWait, Store, SupportsWaits, WaitQuery, WaitRow

if TYPE_CHECKING:
    from everlog.runtime.client import Client

PAGE: Final = 100


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a workflow waits for and has given a title, so that people can answer it.

    `token` names it in `answer`. `deadline` is when the workflow goes on without an answer. `schema` is the JSON schema
    of the type of the answer, None where that has none.
    """

    token: str
    workflow_id: str
    topic: str
    title: str
    metadata: Any
    since: datetime
    deadline: datetime | None
    schema: Mapping[str, Any] | None


def list_waits(client: Client, topic: str | None, workflow_id: str | None) -> Listing[Wait]:
    """List waits as `Client.waits` promises."""

    async def page(mark: Any) -> tuple[list[Wait], object]:
        query = WaitQuery(topic=topic, workflow_id=workflow_id, after=mark, limit=PAGE)
        key = await client.on_thread(partial(_key, client))
        found = await client.on_thread(lambda: waits_of(client.store).list_waits(query))
        listed = [_wait(one, key, client.codec) for one in found]
        last = found[-1] if len(found) == PAGE else None
        return listed, None if last is None else (last.wait.opened_at, last.workflow_id, last.wait.seq)

    return Listing(page)


async def answer(client: Client, token: str, message: object) -> None:
    """Answer as `Client.answer` promises."""
    key = await client.on_thread(partial(_key, client))
    named = named_by(token, key)
    what = f"answer to workflow {named.workflow_id!r}"
    payload = client.codec.encode(message, SELF, what=what)
    check_size(payload, what)
    await client.on_thread(partial(_check, client, named, payload))
    topic = answer_topic(named.seq)
    if isinstance(await client.post(client.message(named.workflow_id, topic, payload, key=topic)), Duplicate):
        raise _over(named)


def waits_of(store: Store) -> SupportsWaits:
    """Give the store as one that lists waits; `UsageError` where it does not."""
    if isinstance(store, SupportsWaits):
        return store
    raise UsageError(f"{type(store).__name__} lists no waits (it is no SupportsWaits); send messages to their topics")


def _key(client: Client) -> str:
    """On the engine's thread: give the key of the database."""
    if not client.signing_key:
        proposed = client.host.token() + client.host.token()
        client.signing_key = waits_of(client.store).signing_key(proposed)
    return client.signing_key


def _wait(one: ListedWait, key: str, codec: Codec) -> Wait:
    row = one.wait
    what = f"metadata of the wait {row.title!r} of workflow {one.workflow_id!r}"
    return Wait(
        token=token_for(Named(one.workflow_id, row.operation, row.seq), key),
        workflow_id=one.workflow_id,
        topic=row.topic,
        title=row.title,
        metadata=None if row.metadata is None else codec.decode(row.metadata, ANY, what=what),
        since=as_datetime(row.opened_at),
        deadline=None if row.due_at is None else as_datetime(row.due_at),
        schema=None if row.schema is None else msgspec.json.decode(row.schema),
    )


def _check(client: Client, named: Named, payload: bytes) -> None:
    """On the engine's thread: refuse an answer that nobody waits for, or that does not fit."""
    store = client.store
    found = waits_of(store).list_waits(WaitQuery(workflow_id=named.workflow_id, seq=named.seq, limit=1))
    row = found[0].wait if found else None
    if row is None or (row.due_at is not None and row.due_at <= store.now()):
        raise _over(named)
    problem = _misfit(client, named, row, payload)
    if problem is not None:
        raise UsageError(
            f"the answer does not fit what workflow {named.workflow_id!r} waits for ({row.title!r}), {problem}; "
            "nothing was sent, and it still waits"
        )


def _misfit(client: Client, named: Named, row: WaitRow, payload: bytes) -> str | None:
    """Say why an answer does not fit: by the type itself where the workflow is held here, otherwise by its schema."""
    held = client.held_here(named.workflow_id)
    wait = held.execution.waits.get(named.operation) if held is not None else None
    if wait is not None and wait.opened_as == named.seq:
        return _by_type(client.codec, wait.declared, payload)
    if row.schema is not None:
        return misfit(msgspec.json.decode(row.schema), payload)
    return None


def _by_type(codec: Codec, declared: object, payload: bytes) -> str | None:
    try:
        codec.decode(payload, declared, what="the answer")
    except Mismatch as error:
        return f"at {error.path}: expected {error.expected}, found {error.found}"
    return None


def _over(named: Named) -> NotFound:
    return NotFound(
        f"workflow {named.workflow_id!r} does not wait for this answer any more: it was answered, or its time is over"
    )
