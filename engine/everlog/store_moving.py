"""The part of the port for moving: `SupportsMoving`. All rows of a workflow, to be read and written as they are.

Whoever moves a database closes it first, with a `Move`: from then on everybody's writes are refused, those of engines
that run as well, and what their workers held is unheld, as after their deaths. So what is read afterwards stays as it
is, and what is copied is run in one place. Closing costs those who never move nothing: no write looks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from everlog.core.heads import InboxRow
from everlog.core.published import StreamRow, ValueRow
from everlog.core.queues import Place, QueueLimits, QueueRow
from everlog.core.retention import AuditRow, HoldRow
from everlog.core.schedule_rows import ScheduleRow
from everlog.core.waits import WaitRow
from everlog.errors import CorruptLog
from everlog.store import CreateOutcome, EventRow, Head

Stands = Literal["delayed", "due", "aside", "admitted"]
"""How a workflow stands in a queue: before its time, waiting for a slot, paused before it had one, with one."""


class AttributeRow(Struct, frozen=True, gc=False):
    """One value of an attribute, as JSON text: alone at place 0, or one of several at 1, 2, 3 ..."""

    name: str
    place: int
    value: str
    created_at: int
    """That of the head."""


class StandingRow(Struct, frozen=True, gc=False, kw_only=True):
    """The place of a workflow in a queue. `name` is that of the workflow, `came` tells who came first."""

    place: Place
    name: str
    came: int
    stands: Stands


class WorkflowRows(Struct, frozen=True, gc=False, kw_only=True):
    """All that is kept of one workflow, as of one moment.

    `size` is of the payloads of the history from `head.first_seq` on. `inbox` is in order, and its `row`s mean nothing
    elsewhere; `keys` are those of all messages that were ever sent to it; `items` are all rows of its streams. `keys`,
    `values`, `attributes` and `items` are in the order of their names, and places.
    """

    head: Head
    size: int
    events: Sequence[EventRow]
    inbox: Sequence[InboxRow] = ()
    keys: Sequence[str] = ()
    values: Sequence[ValueRow] = ()
    attributes: Sequence[AttributeRow] = ()
    waits: Sequence[WaitRow] = ()
    items: Sequence[StreamRow] = ()
    standing: StandingRow | None = None
    hold: HoldRow | None = None


class QueueRows(Struct, frozen=True, gc=False, kw_only=True):
    """All that is kept of one queue beside its places.

    `served` is the partition that was served last; `starts` are the partitions and times of those starts that its rates
    may still count.
    """

    row: QueueRow
    served: str = ""
    starts: Sequence[tuple[str, int]] = ()


class SharedRows(Struct, frozen=True, gc=False, kw_only=True):
    """What is kept beside workflows: queues and schedules, in order of their names, and the key that signs tokens.

    `audit` is the record of what was done to workflows from outside, in order; where one
    is written, it takes the place of that which is there.
    """

    queues: Sequence[QueueRows] = ()
    schedules: Sequence[ScheduleRow] = ()
    signing_key: str | None = None
    audit: Sequence[AuditRow] = ()


def stored_limits(text: str) -> QueueLimits | None:
    """Read limits as they are stored. `CorruptLog` where Everlog did not write that."""
    try:
        plain = msgspec.json.decode(text, type=dict[str, object] | None)
        if plain is None or plain.keys() <= set(QueueLimits.__struct_fields__):
            return msgspec.convert(plain, QueueLimits | None)
        why = f"unknown: {sorted(plain.keys() - set(QueueLimits.__struct_fields__))}"
    except msgspec.MsgspecError as error:
        why = str(error)
    raise CorruptLog(f"these are no limits of a queue that Everlog wrote: {text[:120]!r} ({why}); restore a backup")


def truth(value: object) -> bool:
    """Read a truth value as it is stored. `CorruptLog` where it is another."""
    if value not in (0, 1):
        raise CorruptLog(f"{value!r} is no truth value that Everlog wrote; restore a backup")
    return bool(value)


MoveRole = Literal["leaving", "left", "arriving"]
"""What a closed database is to a move: its source, until it is complete and since it is, and its destination."""


class Move(Struct, frozen=True, gc=False, kw_only=True):
    """Why a database is closed. `other` names the database at the other end; both bear the same `move_id`."""

    move_id: str
    role: MoveRole
    other: str
    at: int

    def sentence(self) -> str:
        """Say why nothing can be written."""
        match self.role:
            case "leaving":
                return (
                    f"it is closed, since it is being moved to {self.other}: let `everlog copy` come to its end, then"
                    " use that one; or take the move back with `everlog copy --undo`"
                )
            case "left":
                return f"it is closed, since it was moved to {self.other}: use that one"
            case "arriving":
                return (
                    f"it is closed until all that is in {self.other} has been moved to it: let `everlog copy` come to"
                    " its end"
                )


@runtime_checkable
class SupportsMoving(Protocol):
    """A store whose rows can be read and written as they are. No method waits for another's transaction for long."""

    def workflow_rows(
        self, *, after: tuple[int, str] | None = None, limit: int = 100, max_bytes: int = 16_000_000
    ) -> Sequence[WorkflowRows]:
        """Give all of the next workflows, in order of `created_at` and id, after these.

        Fewer than `limit` where their payloads would be more than `max_bytes` together, but always one if there is one.
        All of one answer is as of one moment.
        """
        ...

    def rows_of(self, workflow_ids: Sequence[str]) -> Sequence[WorkflowRows]:
        """Give all of these workflows, in the order of `workflow_rows`; unknown ids are passed over."""
        ...

    def put_workflow_rows(self, workflows: Sequence[WorkflowRows]) -> Sequence[CreateOutcome]:
        """Write workflows that are not there, as they are but unheld, in one transaction; closed or not.

        `Exists` where the id is taken, and `Deduplicated` where its `dedup_key` is: nothing of that one was written.
        `came` is kept where the database is closed; otherwise the workflow comes behind those that are there.
        """
        ...

    def shared_rows(self) -> SharedRows:
        """Give what is kept beside workflows."""
        ...

    def put_shared_rows(self, shared: SharedRows) -> None:
        """Write what is kept beside workflows, in the place of what has the same names; closed or not."""
        ...

    def stray_rows(self) -> Sequence[str]:
        """Give a sentence for each kind of row that belongs to no workflow, or contradicts its head."""
        ...

    def move(self) -> Move | None:
        """Give why the database is closed; None while it is not."""
        ...

    def close_for_move(self, move: Move) -> None:
        """Close the database, or change why it is closed, in one transaction.

        All workers are retired as by `retire`, whoever they are. From then on whatever other methods would write raises
        `StoreUnavailable`, here and in every other process. Waits for transactions in progress, and raises that itself
        where one does not end.
        """
        ...

    def open_after_move(self) -> None:
        """Open the database again, for everybody."""
        ...
