"""Comparing: everything that can be read of a store, as data that is equal where stores agree."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from everlog.store import (
    Store,
    SupportsFinding,
    SupportsInboxes,
    SupportsQueues,
    SupportsStreams,
    SupportsValues,
    SupportsWaits,
    WaitQuery,
    WorkflowQuery,
)
from everlog.testing import machine_queues
from everlog.testing.machine_stores import plain


def content_of(store: Store, ids: Sequence[str], workers: Sequence[str]) -> dict[str, object]:
    """Everything that can be read of a store, in comparable form."""
    content: dict[str, object] = {
        "heads": plain(store.heads(ids)),
        "listing": plain(store.workflows(WorkflowQuery())),
        "histories": {workflow_id: plain(store.read(workflow_id)) for workflow_id in ids},
        "unread": {worker: plain(store.unread(worker)) for worker in workers},
        # Whether a worker is gone depends on the process, not on the database.
        "workers": sorted(plain(replace(worker, gone=False)) for worker in store.workers()),
    }
    if isinstance(store, SupportsValues):
        content["values"] = {workflow_id: plain(store.values(workflow_id)) for workflow_id in ids}
    if isinstance(store, SupportsFinding):
        content["attributes"] = plain(store.attributes(ids))
    if isinstance(store, SupportsStreams):
        content["streams"] = {workflow_id: plain(store.streams(workflow_id)) for workflow_id in ids}
    if isinstance(store, SupportsWaits):
        content["waits"] = plain(store.list_waits(WaitQuery(limit=1000)))
    if isinstance(store, SupportsInboxes):
        content["inboxes"] = {workflow_id: plain(store.inbox(workflow_id)) for workflow_id in ids}
    if isinstance(store, SupportsQueues):
        content |= machine_queues.content(store)
    return content
