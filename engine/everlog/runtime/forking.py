"""Forking: how a client has a workflow made of the first part of another's history, once. What it is made of is planned
in `fork_plans`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from everlog.core.codec import SELF, canonical, digest, to_json
from everlog.core.event_codec import decode_event, encode_event
from everlog.core.event_forks import KeptMessages, OpenChildren, Replacements
from everlog.core.events import WorkflowFailed, WorkflowForked
from everlog.core.failures import describe
from everlog.core.forking import Written, tags_of
from everlog.core.names import check_id, time_ordered_id
from everlog.core.sealed import Sealing
from everlog.core.versions import check_version
from everlog.errors import IdInUse, NotFound, UsageError
from everlog.runtime.fork_plans import ForkPlan, Wanted
from everlog.runtime.fork_previews import ForkPreview
from everlog.runtime.fork_sources import At, with_forks
from everlog.store import ChildExists, Exists, Refused
from everlog.store_forks import SupportsForks

if TYPE_CHECKING:
    from everlog.runtime.client import Client

log: Final = logging.getLogger("everlog")


async def fork(
    client: Client,
    source: str,
    *,
    at: At,
    replace: Replacements | None,
    messages: KeptMessages,
    children: OpenChildren,
    version: str | None,
    workflow_id: str | None,
) -> str:
    """Make a fork and give its id; see `Handle.fork`."""
    if workflow_id is not None and check_id(workflow_id) == source:
        raise IdInUse(f"{source!r} is the id of the workflow that is to be forked; choose another for the fork")
    wanted = _wanted(client, source, at, replace, messages, children, version, workflow_id)
    return await client.on_thread(partial(_fork_here, client, wanted))


async def preview_fork(
    client: Client,
    source: str,
    *,
    at: At,
    replace: Replacements | None,
    messages: KeptMessages,
    children: OpenChildren,
    version: str | None,
) -> ForkPreview:
    """Tell what a fork would be; see `Handle.preview_fork`."""
    wanted = _wanted(client, source, at, replace, messages, children, version, None)
    return await client.on_thread(lambda: ForkPlan(client, client.store, wanted).preview())


def _wanted(
    client: Client,
    source: str,
    at: At,
    replace: Replacements | None,
    messages: KeptMessages,
    children: OpenChildren,
    version: str | None,
    workflow_id: str | None,
) -> Wanted:
    """Check what a fork is asked for with."""
    check_version(version)
    _check_cut(at)
    checked = _checked_replacements({} if replace is None else replace)
    for name, value, known in (("messages", messages, ("keep", "drop")), ("children", children, ("rerun", "keep"))):
        if value not in known:
            raise UsageError(f"{name} of a fork must be {known[0]!r} or {known[1]!r}, got {value!r}")
    given = [source, at, [[name, _told(client, value)] for name, value in checked.items()], messages, children]
    if version is not None:
        given.append(version)
    return Wanted(
        source=source,
        workflow_id=workflow_id or time_ordered_id(client.host.wall(), client.host.token()),
        at=at,
        replace=checked,
        messages=messages,
        children=children,
        version=version,
        asked=digest(canonical(to_json(given))),
    )


def _check_cut(at: Any) -> None:
    # Users without a type checker give anything.
    if at is not None and (isinstance(at, bool) or not isinstance(at, int | str)):
        raise UsageError(f"a fork is cut at the seq of an event, or at an operation, got at={at!r}")


def _checked_replacements(replace: Any) -> Mapping[int | str, object]:
    # Users without a type checker give anything.
    given = cast("Mapping[Any, object]", replace) if isinstance(replace, Mapping) else None
    if given is None or not all(isinstance(name, int | str) for name in given):
        raise UsageError(f"replace must map operations, or seqs, to what is to be there instead, got {replace!r}")
    return dict(given)


def _told(client: Client, value: object) -> str:
    """Give a value as text by which two of them are compared."""
    if isinstance(value, BaseException):
        return encode_event(WorkflowFailed(error=describe(value, client.codec, traceback=False))).decode()
    if isinstance(value, Written):
        told = canonical(value.json).decode()
        return client.codec.seal_text(told) if isinstance(client.codec, Sealing) else told
    return client.codec.encode(value, SELF, what="what is to be there instead").decode()


def _fork_here(client: Client, wanted: Wanted) -> str:
    """On the engine's thread."""
    store, workflow_id = client.store, wanted.workflow_id
    plan = ForkPlan(client, store, wanted)
    outcome = with_forks(store).fork(plan.fork())
    if isinstance(outcome, Exists):
        _must_be_the_same(with_forks(store), wanted)
    elif isinstance(outcome, ChildExists):
        raise IdInUse(
            f"fork {workflow_id!r} was to start a child {outcome.head.workflow_id!r}, and there is a workflow of that"
            " id; choose another id for the fork"
        )
    elif isinstance(outcome, Refused):
        raise NotFound(f"workflow {wanted.source!r} was deleted before it was forked")
    else:
        if plan.again:
            log.info("fork %r of %r does again: %s", workflow_id, wanted.source, ", ".join(plan.again))
        client.wrote(workflow_id, None)
    return workflow_id


def _must_be_the_same(store: SupportsForks, wanted: Wanted) -> None:
    rows = store.read_types(wanted.workflow_id, tags_of(WorkflowForked))
    found = [decode_event(row.payload) for row in rows]
    if not any(isinstance(event, WorkflowForked) and event.asked == wanted.asked for event in found):
        raise IdInUse(
            f"there is a workflow {wanted.workflow_id!r}, and it is not this fork of {wanted.source!r}; choose another"
            " id"
        )
