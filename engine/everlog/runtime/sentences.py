"""Sentences: what is said of a workflow that could not be run on, or a message that could not be delivered."""

from __future__ import annotations

from collections.abc import Iterable

from everlog.core.events import AnyEvent
from everlog.core.state import fold
from everlog.store import Head


def not_delivered(to: str, reason: str, *, control: bool = False) -> str:
    if control:
        return f"there is no workflow {to!r} in this store"
    if reason == "unknown":
        return f"there is no workflow {to!r} to send to; start it first"
    return f"workflow {to!r} has ended; nobody will read the message"


def not_posted(to: str, reason: str) -> str:
    """Say why nobody outside can send to a workflow."""
    if reason == "unknown":
        return f"there is no workflow {to!r} in this store; start it first"
    return f"workflow {to!r} has ended; nobody will read the message"


def poisoned(head: Head, history: Iterable[tuple[int, int, AnyEvent]]) -> str:
    steps = ", ".join(repr(one.operation) for one in fold(history).open.values() if one.kind == "step") or "no step"
    return (
        f"{head.takeovers} workers died while they held workflow {head.workflow_id!r}, and it made no progress. "
        f"Open then: {steps}. If a step kills its process, or the code of the workflow computes for longer than the "
        "lease, mend it; another build goes on by itself"
    )
