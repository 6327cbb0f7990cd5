"""Copying: a whole database moves to another, all of it or nothing, and is run in one place at any time.

1. Both are closed, the destination first: what is running at the source can write no more, and what is copied is not
   begun before all of it is there. 2. Workflows are written page by page, in the order of age; a page is one
transaction. 3. All is read again on both sides and compared by its digests. 4. The source is closed for good, and then
the destination is opened. Whatever dies meanwhile, the same call goes on where that was: what is done is told by the
two databases alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import zip_longest
from typing import Final, Literal, Protocol, cast

from msgspec import Struct
from msgspec.structs import replace

from everlog.errors import CorruptLog, InternalError, UsageError
from everlog.runtime.digests import moved_digest, shared_digest
from everlog.store import Done, Store, SupportsFinding, WorkerRow, WorkflowQuery
from everlog.store_moving import Move, SupportsMoving, WorkflowRows

PAGE: Final = 200

Phase = Literal["copying", "comparing"]


class Movable(Store, SupportsMoving, Protocol):
    """A store whose rows can be moved."""


class Copied(Struct, frozen=True, kw_only=True):
    """What was copied. `digest` is of all of it, alike on both sides; with `before` an earlier call had done it."""

    workflows: int
    events: int
    digest: str
    before: bool = False


class End(Struct, frozen=True):
    """One end of a move: a database, and how people call it."""

    store: Store
    name: str


class Live(Exception):
    """Workers live on the source. Not an error of ours: who copies waits for them, or goes on without."""

    def __init__(self, workers: Sequence[WorkerRow]) -> None:
        super().__init__(f"{len(workers)} workers live on it")
        self.workers = workers


def copy(
    source: End,
    destination: End,
    *,
    move_id: str,
    force: bool = False,
    progress: Callable[[Phase, int, int], None] = lambda phase, done, total: None,
) -> Copied:
    """Move all that is in the source to the destination, which is empty, or go on with a move that was begun.

    `move_id` is random text, used for a move that has not begun. Raises `Live` where workers live on the source, unless
    with `force`: then they lose what they hold, as if they had died. `UsageError` where the two are not the two ends of
    one move. `CorruptLog` where what arrived is not what left: then both stay closed.
    """
    left, arrived = movable(source), movable(destination)
    if _is_complete(left, arrived, source, destination):
        workflows, events, digest = _summed(arrived)
        return Copied(workflows=workflows, events=events, digest=digest, before=True)
    move = _begun(left, arrived, source, destination, move_id, force=force)
    total = _count(left)
    arrived.put_shared_rows(left.shared_rows())
    _copy_pages(left, arrived, destination, lambda done: progress("copying", done, total))
    compared = _compared(left, arrived, source, destination, lambda done: progress("comparing", done, total))
    left.close_for_move(replace(move, role="left", at=left.now()))
    arrived.open_after_move()
    return compared


def undo(source: End) -> None:
    """Take a move back that has not come to its end: the source is open again. `UsageError` where there is none."""
    left = movable(source)
    move = left.move()
    if move is None or move.role != "leaving":
        why = "it is open" if move is None else move.sentence()
        raise UsageError(f"no move from {source.name} can be taken back: {why}")
    left.open_after_move()


def movable(end: End) -> Movable:
    """Give the store of an end. Raises `UsageError` where its rows cannot be moved."""
    if not isinstance(end.store, SupportsMoving):
        raise UsageError(f"what is in {end.name} cannot be moved: its backend does not support that (SupportsMoving)")
    return cast("Movable", end.store)


def live_workers(store: Store) -> list[WorkerRow]:
    """Give the workers that are not known to be dead."""
    now = store.now()
    return [one for one in store.workers() if one.process and not one.gone and one.lease_until > now]


def _is_complete(left: Movable, arrived: Movable, source: End, destination: End) -> bool:
    """Say whether this very move came to its end before; raise where another did."""
    leaving, arriving = left.move(), arrived.move()
    if leaving is None or leaving.role != "left":
        return False
    if arriving is not None and arriving.move_id == leaving.move_id:
        return False  # all that is missing is that it is opened
    if arriving is None and leaving.other == destination.name:
        return True
    raise UsageError(f"{source.name} cannot be copied to {destination.name}: {leaving.sentence()}")


def _begun(left: Movable, arrived: Movable, source: End, destination: End, move_id: str, *, force: bool) -> Move:
    """Give the move of which both are closed as the ends, whether they were before or are now."""
    leaving, arriving = left.move(), arrived.move()
    if leaving is not None:
        if leaving.role == "arriving":
            raise UsageError(f"{source.name} is not whole and cannot be copied: {leaving.sentence()}")
        if arriving is None or arriving.move_id != leaving.move_id:
            raise UsageError(f"{source.name} cannot be copied to {destination.name}: {leaving.sentence()}")
        return leaving
    if arriving is None or arriving.role != "arriving" or not _is_empty(arrived):
        _require_empty(arrived, arriving, destination)
        arriving = Move(move_id=move_id, role="arriving", other=source.name, at=arrived.now())
    live = live_workers(left)
    if live and not force:
        raise Live(live)
    arrived.close_for_move(replace(arriving, other=source.name))
    move = Move(move_id=arriving.move_id, role="leaving", other=destination.name, at=left.now())
    left.close_for_move(move)
    return move


def _require_empty(arrived: Movable, arriving: Move | None, destination: End) -> None:
    if arriving is not None:
        raise UsageError(
            f"{destination.name} cannot be copied to: {arriving.sentence()}; or name an empty database, or a new file"
        )
    if not _is_empty(arrived):
        raise UsageError(
            f"{destination.name} has workflows or schedules of its own, and would not be what is copied: name an empty"
            " database, or a new file; single workflows are brought by `everlog import`"
        )
    if live := live_workers(arrived):
        raise UsageError(f"an engine runs on {destination.name} ({live[0].worker}): stop it, and copy again")


def _is_empty(store: Movable) -> bool:
    return not store.workflows(WorkflowQuery(limit=1)) and not store.shared_rows().schedules


def _count(store: Store) -> int:
    return sum(one.count for one in store.counts(WorkflowQuery())) if isinstance(store, SupportsFinding) else 0


def _copy_pages(left: Movable, arrived: Movable, destination: End, told: Callable[[int], None]) -> None:
    newest = arrived.workflows(WorkflowQuery(limit=1, newest_first=True))
    done = _count(arrived)
    after = (newest[0].created_at, newest[0].workflow_id) if newest else None
    told(done)
    while page := left.workflow_rows(after=after, limit=PAGE):
        for rows, outcome in zip(page, arrived.put_workflow_rows(page), strict=True):
            if not isinstance(outcome, Done):
                raise InternalError(
                    f"workflow {rows.head.workflow_id!r} could not be written to {destination.name}, which is closed"
                    f" and held nothing that comes after it: {outcome!r}"
                )
        after = _place(page[-1])
        done += len(page)
        told(done)


def _compared(left: Movable, arrived: Movable, source: End, destination: End, told: Callable[[int], None]) -> Copied:
    """Compare all that is on both sides, as it is read from them now."""
    summed, workflows, events = sha256(), 0, 0
    for pair in zip_longest(pages(left), pages(arrived)):
        ours, *others = [rows for rows in pair if rows is not None]
        if not others or moved_digest(ours) != moved_digest(others[0]):
            raise _differs(f"workflow {ours.head.workflow_id!r}", source, destination)
        summed.update(moved_digest(ours).encode())
        workflows += 1
        events += len(ours.events)
        if not workflows % PAGE:
            told(workflows)
    told(workflows)
    if shared_digest(left.shared_rows()) != shared_digest(arrived.shared_rows()):
        raise _differs("what is kept of queues and schedules", source, destination)
    if strays := arrived.stray_rows():
        raise CorruptLog(f"{destination.name} is not what {source.name} is: {'; '.join(strays)}; copy to an empty one")
    return Copied(workflows=workflows, events=events, digest=summed.hexdigest())


def _summed(store: Movable) -> tuple[int, int, str]:
    summed, workflows, events = sha256(), 0, 0
    for rows in pages(store):
        summed.update(moved_digest(rows).encode())
        workflows, events = workflows + 1, events + len(rows.events)
    return workflows, events, summed.hexdigest()


def _differs(what: str, source: End, destination: End) -> CorruptLog:
    return CorruptLog(
        f"{what} is not in {destination.name} what it is in {source.name}; nothing was opened: `everlog verify` says"
        " what is wrong with either, `everlog copy --undo` opens the source again, then copy to an empty database"
    )


def pages(store: SupportsMoving) -> Iterator[WorkflowRows]:
    """Give all workflows of a store, in the order of age, a page at a time."""
    after: tuple[int, str] | None = None
    while page := store.workflow_rows(after=after, limit=PAGE):
        yield from page
        after = _place(page[-1])


def _place(rows: WorkflowRows) -> tuple[int, str]:
    return rows.head.created_at, rows.head.workflow_id
