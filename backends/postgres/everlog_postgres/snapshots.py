"""Snapshots: which transactions a reading saw, so that the next one can ask for what others did since. No SQL."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Snapshot(Struct, frozen=True):
    """All transactions before `next` had ended, save those that were `running`."""

    next: int
    running: Sequence[int]

    def shows(self, transaction: int) -> bool:
        """Say whether what a transaction wrote that has committed since was there already."""
        return transaction < self.next and transaction not in self.running

    def parameters(self) -> dict[str, object]:
        """Give it as the statements take it."""
        return {"next": str(self.next), "running": "{" + ",".join(map(str, self.running)) + "}"}


NOTHING = Snapshot(0, ())
"""Shows nothing."""


def snapshot(text: str) -> Snapshot:
    """Read what `pg_current_snapshot()` gives: `10:20:10,14,15`, the oldest running, the next to begin, the running."""
    _, following, running = text.split(":")
    return Snapshot(int(following), tuple(int(transaction) for transaction in running.split(",") if transaction))
