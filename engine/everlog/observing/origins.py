"""Origins: in which trace a workflow lies, and below which span, as every process finds it anew. It makes no span.

Nothing is recorded for that: the ids follow from the ids of workflows and the times at which they were created, and who
started whom is in their histories. So a workflow that is recovered elsewhere goes on in its trace, and its children,
wherever they run, are in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from msgspec import Struct

from everlog.core.event_codec import decode_event
from everlog.core.events import WorkflowContinued, WorkflowCreated
from everlog.errors import StoreError
from everlog.store import Store

TRACEPARENT: Final = "traceparent"
"""The attribute of a workflow that says in which trace it was started, as the W3C's Trace Context writes that."""
MOST_KNOWN: Final = 10_000
MOST_ANCESTORS: Final = 100
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")


class Caller(Struct, frozen=True):
    """The span within which somebody started a workflow."""

    trace_id: int
    span_id: int
    flags: int


class Origin(Struct, frozen=True, kw_only=True):
    """Where the span of a workflow stands. Its `parent` is the workflow, or else `caller` the span, that started it."""

    workflow_id: str
    created_at: int
    name: str
    trace_id: int
    span_id: int
    parent: Origin | None = None
    caller: Caller | None = None

    def later_span_id(self, seq: int) -> int:
        """Give the id of the span of a later stretch, which this row began: another life, or a retry."""
        return _number(f"span {self.workflow_id} {self.created_at} {seq}", 8)


class Origins:
    """Finds origins, and knows those that it found last. Used on the engine's thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Origin | None] = {}

    def of_created(self, workflow_id: str, created: WorkflowCreated, created_at: int) -> Origin:
        """Give the origin of a workflow that was created so."""
        known = self._known.get(workflow_id)
        if known is not None and known.created_at == created_at:
            return known
        parent = None if created.parent is None else self.find(created.parent)
        return self._keep(workflow_id, _origin(workflow_id, created, created_at, parent))

    def find(self, workflow_id: str, deep: int = 0) -> Origin | None:
        """Give the origin of a workflow by its id, None where there is none, or it cannot be read now."""
        if workflow_id in self._known:
            return self._known[workflow_id]
        try:
            (head,) = self._store.heads([workflow_id])
            rows = () if head is None else self._store.read(workflow_id, after=head.first_seq - 1, limit=1)
        except StoreError:
            return None
        first = decode_event(rows[0].payload) if rows else None
        created = first.created if isinstance(first, WorkflowContinued) else first
        if head is None or not isinstance(created, WorkflowCreated):
            self._remember(workflow_id, None)
            return None
        has_parent = created.parent is not None and deep < MOST_ANCESTORS
        parent = self.find(created.parent or "", deep + 1) if has_parent else None
        return self._keep(workflow_id, _origin(workflow_id, created, head.created_at, parent))

    def _keep(self, workflow_id: str, origin: Origin) -> Origin:
        self._remember(workflow_id, origin)
        return origin

    def _remember(self, workflow_id: str, origin: Origin | None) -> None:
        self._known.pop(workflow_id, None)
        self._known[workflow_id] = origin
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]


def _origin(workflow_id: str, created: WorkflowCreated, created_at: int, parent: Origin | None) -> Origin:
    caller = None if parent is not None else caller_in(created.attributes)
    if parent is not None:
        trace_id = parent.trace_id
    elif caller is not None:
        trace_id = caller.trace_id
    else:
        trace_id = _number(f"trace {workflow_id} {created_at}", 16)
    return Origin(
        workflow_id=workflow_id,
        created_at=created_at,
        name=created.name,
        trace_id=trace_id,
        span_id=_number(f"span {workflow_id} {created_at}", 8),
        parent=parent,
        caller=caller,
    )


def caller_in(attributes: Mapping[str, object]) -> Caller | None:
    """Give the span that attributes name, None where they name none."""
    given = attributes.get(TRACEPARENT)
    found = _TRACEPARENT.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        return None
    caller = Caller(int(found["trace"], 16), int(found["span"], 16), int(found["flags"], 16))
    return caller if caller.trace_id and caller.span_id else None


def traceparent(trace_id: int, span_id: int, flags: int) -> str:
    """Give the attribute that names a span."""
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"


def _number(text: str, size: int) -> int:
    """Give a number of so many bytes that follows from a text, and is not 0."""
    return int.from_bytes(sha256(f"everlog {text}".encode()).digest()[:size]) or 1
