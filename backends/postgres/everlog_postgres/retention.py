"""Retention: what of `everlog.store_retention` is done on the tables. How rows are written is not known here.

Who removes workflows locks their heads first, and then looks, in a statement of its own, who is held; who holds them
keeps their heads from being removed first, and then writes. So the one comes before or after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from everlog.core.retention import AuditRow, HoldRow
from everlog.errors import CorruptLog, StoreUnavailable, UsageError
from everlog.store import Done, Refused
from everlog.store_moving import WorkflowRows
from everlog_postgres.arrays import bigints, texts
from everlog_postgres.connection import Ask, Connection, Question
from everlog_postgres.distributed import Distributed
from everlog_postgres.statements import RetentionStatements, Statements

_PATIENTLY: Final = 10.0
"""Seconds for which others' transactions are waited for."""
_Result = TypeVar("_Result")
_ids: Final = msgspec.json.Decoder(tuple[str, ...])


class RetentionTables:
    """What a store keeps and removes. The store that inherits from it has the connection, and writes rows."""

    _connection: Connection
    _sql: Statements
    _distributed: Distributed | None

    def now(self) -> int:
        """Give the time of the store's clock."""
        raise NotImplementedError

    def _wrote(self) -> None:
        raise NotImplementedError

    def _put_rows_within(self, ask: Ask, rows: WorkflowRows) -> None:
        """Write all of a workflow that is not there, within the transaction that is open."""
        raise NotImplementedError

    @property
    def _retention(self) -> RetentionStatements:
        if self._distributed is not None:
            raise UsageError(
                f"{self._connection.name}: its tables are distributed over several servers, and workflows in such"
                " tables cannot be held, pruned or redacted yet; `delete` removes those that have ended"
                " (docs/retention.md)"
            )
        return self._sql.retention

    def _alter(self, work: Callable[[Ask], _Result]) -> _Result:
        """Do it in one transaction."""

        def noted(ask: Ask) -> tuple[list[_Result], bool]:
            return [work(ask)], True

        done = self._connection.transacts_or_is_locked(noted, patience=_PATIENTLY, note=self._sql.note)
        if done is None:
            raise StoreUnavailable(
                f"{self._connection.name}: another transaction, idle perhaps, has locked these workflows and has not"
                " ended; nothing was written, end it or try again"
            )
        self._wrote()
        return done[0]

    def remove_ended(self, workflow_ids: Sequence[str]) -> list[str]:
        """Remove those that have ended and are not held; give their ids, sorted."""
        return self._alter(lambda ask: self._remove(ask, [(one, None) for one in dict.fromkeys(workflow_ids)]))

    def remove(self, ended: Sequence[tuple[str, int]], audit: AuditRow) -> Sequence[str]:
        """Remove those that have ended at this seq and are not held; give their ids, sorted."""
        self._retention  # noqa: B018 - which refuses where there is none
        return self._alter(lambda ask: self._noted(ask, audit, self._remove(ask, list(dict(ended).items()))))

    def _remove(self, ask: Ask, wanted: Sequence[tuple[str, int | None]]) -> list[str]:
        sql = self._retention
        locked = ask(Question(sql.lock_heads, {"workflow_ids": texts([one for one, _ in wanted])}))[0]
        seqs = dict(wanted)
        ids = [one for (one,) in locked]
        asked = {"workflow_ids": texts(ids), "seqs": bigints([seqs[one] for one in ids])}
        found = [one for (one,) in ask(Question(sql.find_removable, asked))[0]]
        if found:
            ask(Question(self._sql.delete_workflows, {"workflow_ids": texts(found)}))
        return found

    def rewrite(self, rows: WorkflowRows, audit: AuditRow) -> Done | Refused:
        """Write all of a workflow anew, if it has ended at the same seq and is not held."""
        head = rows.head
        self._retention  # noqa: B018 - which refuses where there is none

        def write(ask: Ask) -> Done | Refused:
            if not self._remove(ask, [(head.workflow_id, head.seq)]):
                return Refused()
            self._put_rows_within(ask, rows)
            self._noted(ask, audit, [head.workflow_id])
            return Done()

        return self._alter(write)

    def hold(self, workflow_ids: Sequence[str], audit: AuditRow) -> Sequence[str]:
        """Hold those that are there and not held yet; give their ids."""
        sql = self._retention
        ids: dict[str, object] = {"workflow_ids": texts(sorted(set(workflow_ids)))}
        asked = {**ids, "held_at": audit.at, "held_by": audit.by, "reason": audit.said}

        def write(ask: Ask) -> Sequence[str]:
            ask(Question(sql.keep_heads, ids))
            held = ask(Question(sql.hold_workflows, asked))[0]
            return self._noted(ask, audit, sorted(one for (one,) in held))

        return self._alter(write)

    def release(self, workflow_ids: Sequence[str], audit: AuditRow) -> Sequence[str]:
        """Take holds back; give the ids of those that were held."""
        sql = self._retention
        asked = {"workflow_ids": texts(sorted(set(workflow_ids)))}

        def write(ask: Ask) -> Sequence[str]:
            released = ask(Question(sql.release_workflows, asked))[0]
            return self._noted(ask, audit, sorted(one for (one,) in released))

        return self._alter(write)

    def holds(
        self, workflow_ids: Sequence[str] | None = None, *, after: str = "", limit: int = 100
    ) -> Sequence[HoldRow]:
        """Give one page of holds in order of their ids."""
        ids = None if workflow_ids is None else texts(list(workflow_ids))
        asked = {"workflow_ids": ids, "after": after, "limit": limit}
        return [hold_of(*row) for row in self._connection.ask(Question(self._retention.list_holds, asked))[0]]

    def audit(self, *, after: int = 0, limit: int = 100) -> Sequence[tuple[int, AuditRow]]:
        """Give one page of what was done, in order."""
        found = self._connection.ask(Question(self._retention.list_audit, {"after": after, "limit": limit}))[0]
        return [(number, audit_of(*row)) for number, *row in found]

    def take_turn(self, what: str, holder: str, *, until: int) -> bool:
        """Take a turn, or keep it."""
        asked = {"what": what, "holder": holder, "until": until, "now": self.now()}
        return bool(self._connection.write(Question(self._retention.take_turn, asked))[0])

    def _noted(self, ask: Ask, audit: AuditRow, workflow_ids: Sequence[str]) -> Sequence[str]:
        if workflow_ids:
            row = replace(audit, workflow_ids=workflow_ids)
            ask(Question(self._retention.insert_audit, audit_values(row)))
        return workflow_ids


def audit_values(row: AuditRow) -> dict[str, object]:
    """Give what the statement takes that notes what was done."""
    ids = msgspec.json.encode(list(row.workflow_ids)).decode()
    return {"done_at": row.at, "done_by": row.by, "action": row.action, "workflow_ids": ids, "said": row.said}


def hold_values(row: HoldRow) -> dict[str, object]:
    """Give what the statement takes that writes a hold that was one elsewhere."""
    return {"workflow_id": row.workflow_id, "held_at": row.at, "held_by": row.by, "reason": row.reason}


def hold_of(workflow_id: str, at: int, by: str, reason: str) -> HoldRow:
    """Give a hold as it was stored."""
    return HoldRow(workflow_id=workflow_id, at=at, by=by, reason=reason)


def audit_of(at: int, by: str, action: Any, workflow_ids: str, said: str) -> AuditRow:
    """Give what was done as it was stored. `CorruptLog` where that is not what Everlog wrote."""
    try:
        ids = _ids.decode(workflow_ids)
    except msgspec.DecodeError as error:
        raise CorruptLog(f"the record of what was done is not what Everlog wrote: {error}; restore a backup") from error
    return AuditRow(at=at, by=by, action=action, workflow_ids=ids, said=said)
