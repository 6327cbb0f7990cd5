"""Digests: what tells whether two stores hold the same, as SHA-256. They say nothing about what is right.

The *chain* of a history has a link for each event: the digest of the link before, the seq, the type, the time of
recording and the payload, byte for byte. The first link begins with the id of the workflow. So a link tells of every
event up to it, and a history that has gone on since still has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec
from msgspec.structs import replace

from everlog.store import EventRow
from everlog.store_moving import QueueRows, SharedRows, WorkflowRows

_BEGINNING: Final = b"everlog chain 1\0"
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def links(workflow_id: str, events: Iterable[EventRow]) -> list[str]:
    """Give all links of the chain of a history, in hexadecimal."""
    link, found = sha256(_BEGINNING + workflow_id.encode()).digest(), list[str]()
    for event in events:
        said = _encode((event.seq, event.type, event.recorded_at))
        link = sha256(link + len(said).to_bytes(8, "big") + said + event.payload).digest()
        found.append(link.hex())
    return found


def content_digest(rows: WorkflowRows) -> str:
    """Give the digest of all that is kept of a workflow; rows in inboxes have numbers that mean nothing elsewhere."""
    rest = replace(rows, events=(), inbox=[replace(row, row=0) for row in rows.inbox])
    return digest((links(rows.head.workflow_id, rows.events)[-1:], rest))


def moved_digest(rows: WorkflowRows) -> str:
    """Give the digest of what is the same wherever it is copied to: who holds it is not, nor who looked at a queue."""
    standing = rows.standing
    if standing is not None and standing.stands == "delayed":
        standing = replace(standing, stands="due")
    return content_digest(replace(rows, head=replace(rows.head, token=None, worker=None), standing=standing))


def shared_digest(shared: SharedRows) -> str:
    """Give the digest of what is kept beside workflows."""
    return digest(replace(shared, queues=[_ordered(queue) for queue in shared.queues]))


def _ordered(queue: QueueRows) -> QueueRows:
    return replace(queue, starts=sorted(queue.starts))


def digest(value: object) -> str:
    """Give the digest of anything that has a form as JSON; lists and tuples are alike."""
    return sha256(_encode(value)).hexdigest()
