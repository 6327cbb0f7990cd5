"""Waits: what a workflow lets people know that it waits for, as rows. What they are, not how they are kept."""

from __future__ import annotations

from msgspec import Struct


class WaitRow(Struct, frozen=True, gc=False, kw_only=True):
    """A wait that is open and listed: a projection of the log, of its `wait_started` at `seq`.

    `due_at` is when it ends without an answer. `metadata` and `schema` are JSON text, of what the workflow's code says
    of it and of the type of its answer.
    """

    seq: int
    operation: str
    topic: str
    title: str
    opened_at: int
    due_at: int | None = None
    metadata: bytes | None = None
    schema: bytes | None = None


class ListedWait(Struct, frozen=True, gc=False):
    """A wait, and whose it is."""

    workflow_id: str
    wait: WaitRow


class WaitQuery(Struct, frozen=True, gc=False, kw_only=True):
    """A page of waits, the oldest first; those opened at one time by workflow, compared by code points, and seq.

    `after` names the last of the page before: when it was opened, its workflow, its seq. With `seq`, that one wait of
    `workflow_id`.
    """

    topic: str | None = None
    workflow_id: str | None = None
    seq: int | None = None
    after: tuple[int, str, int] | None = None
    limit: int = 100
