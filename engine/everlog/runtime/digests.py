"""Digests: what tells whether two stores hold the same, as SHA-256. They say nothing about what is right.

The *chain* of a history has a link for each event: the digest of the link before, the seq, the type, the time of
recording and the payload, byte for byte. The first link begins with the id of the workflow. So a link tells of every
event up to it, and a history that has gone on since still has it. An event that was redacted says which link it had.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from typing import Final, cast

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields, replace

from everlog.core.redacting import kept_link
from everlog.store import EventRow
from everlog.store_moving import QueueRows, SharedRows, WorkflowRows

_BEGINNING: Final = b"everlog chain 1\0"
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def links(workflow_id: str, events: Iterable[EventRow]) -> list[str]:
    """Give all links of the chain of a history, in hexadecimal."""
    link, found = sha256(_BEGINNING + workflow_id.encode()).digest(), list[str]()
    for event in events:
        said = _encode((event.seq, event.type, event.recorded_at))
        kept = kept_link(event.payload)
        link = sha256(link + len(said).to_bytes(8, "big") + said + event.payload).digest()
        link = link if kept is None else bytes.fromhex(kept)
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
    """Give the digest of anything that has a form as JSON; lists and tuples are alike.

    Seals are kept for long: so fields that have their defaults are left out, and what gains a field keeps its digest.
    """
    return sha256(_encode(_plain(value))).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, Struct):
        kind = type(value)
        defaults = _defaults(kind)
        said = {name: _plain(getattr(value, name)) for name in kind.__struct_fields__}
        return {name: held for name, held in said.items() if name not in defaults or held != defaults[name]}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in cast("Sequence[object]", value)]
    return value


@cache
def _defaults(kind: type[Struct]) -> dict[str, object]:
    """Give the defaults of a struct by the names of its fields."""
    found: dict[str, object] = {}
    for field in fields(kind):
        if field.default is not NODEFAULT:
            found[field.name] = _plain(field.default)
        elif field.default_factory is not NODEFAULT:
            found[field.name] = _plain(field.default_factory())
    return found
