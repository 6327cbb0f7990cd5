"""Snapshots: which transactions a reading saw, so that the next one can ask for what others did since. No SQL."""

from __future__ import annotations

from msgspec import Struct


class Snapshot(Struct, frozen=True):
    """All transactions before `next` had ended, save those that were `running`: an array as the server reads it."""

    next: str
    running: str


def snapshot(text: str) -> Snapshot:
    """Read what `pg_current_snapshot()` gives: `10:20:10,14,15`, the oldest running, the next to begin, the running."""
    _, following, running = text.split(":")
    return Snapshot(following, "{" + running + "}")
