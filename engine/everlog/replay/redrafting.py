"""Redrafting: what a draft becomes that the store did not take, where an effect could not be had. It asks no store."""

from __future__ import annotations

import msgspec

from everlog.core import events
from everlog.core.failures import Failure
from everlog.replay.drafting import Draft


def undeliverable(drafted: Draft, index: int, error: Failure) -> None:
    """Put the failure of send number `index` in the place of its success."""
    operation = drafted.sends.pop(index)
    for position, row in enumerate(drafted.rows):
        if isinstance(row, events.MessageSent) and row.operation == operation.identity:
            drafted.rows[position] = events.SendFailed(
                operation=row.operation,
                to=row.to,
                topic=row.topic,
                message=row.message,
                key=row.key,
                control=row.control,
                ask=row.ask,
                error=error,
            )


def not_created(
    drafted: Draft, index: int, error: Failure | None, *, is_own: bool = False, instead: str | None = None
) -> None:
    """Put in the place of start number `index` that the same workflow was there, or, with an error, its failure.

    One that is our own, started before this workflow was rewound, is started: its end is told here. `instead` is the
    workflow that had its `dedup_key`.
    """
    operation = drafted.starts.pop(index)
    for position, row in enumerate(drafted.rows):
        if isinstance(row, events.ChildStarted) and row.operation == operation.identity:
            drafted.rows[position] = (
                msgspec.structs.replace(
                    row,
                    existed=not is_own,
                    child=instead or row.child,
                    deduplicated=instead is not None,
                    needs_our_slot=row.needs_our_slot and is_own,
                )
                if error is None
                else events.StartFailed(**operation.fields(), error=error)
            )
