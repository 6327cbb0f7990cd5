"""Retention: what of `everlog.store_retention` is done on the tables. How rows are written is not known here.

The whole file is locked while something is held or removed, so the one comes before or after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from everlog.core.retention import AuditRow, HoldRow
from everlog.store import Done, Refused
from everlog.store_moving import WorkflowRows
from everlog_sqlite import statements as sql
from everlog_sqlite.connection import Connection
from everlog_sqlite.planning import DONE
from everlog_sqlite.records import array, read_json

_ids: Final = msgspec.json.Decoder(tuple[str, ...])


class RetentionTables:
    """What a store keeps and removes. The store that inherits from it writes rows of workflows, and has a clock."""

    _connection: Connection

    def now(self) -> int:
        """Give the time of the store's clock."""
        raise NotImplementedError

    def _put_rows_within(self, rows: WorkflowRows) -> None:
        """Write all of a workflow that is not there, within the transaction that is open."""
        raise NotImplementedError

    def delete(self, workflow_ids: Sequence[str]) -> Sequence[str]:
        """Remove those that have ended and are not held, with all that is kept of them; give their ids."""
        with self._connection.transaction:
            return self._remove([(one, None) for one in dict.fromkeys(workflow_ids)])

    def remove(self, ended: Sequence[tuple[str, int]], audit: AuditRow) -> Sequence[str]:
        """Remove those that have ended at this seq and are not held; give their ids, sorted."""
        with self._connection.transaction:
            return self._noted(audit, self._remove(list(dict(ended).items())))

    def _remove(self, wanted: Sequence[tuple[str, int | None]]) -> list[str]:
        connection = self._connection
        found = connection.rows(sql.FIND_REMOVABLE, {"wanted": array(wanted)})
        if found:
            for statement in sql.DELETE_WORKFLOWS:
                connection.execute(statement, {"numbers": array([number for number, _ in found])})
        return [workflow_id for _, workflow_id in found]

    def rewrite(self, rows: WorkflowRows, audit: AuditRow) -> Done | Refused:
        """Write all of a workflow anew, if it has ended at the same seq and is not held."""
        head = rows.head
        with self._connection.transaction:
            if not self._remove([(head.workflow_id, head.seq)]):
                return Refused()
            self._put_rows_within(rows)
            self._noted(audit, [head.workflow_id])
        return DONE

    def hold(self, workflow_ids: Sequence[str], audit: AuditRow) -> Sequence[str]:
        """Hold those that are there and not held yet; give their ids."""
        asked = {"workflow_ids": array(workflow_ids), "held_at": audit.at, "held_by": audit.by, "reason": audit.said}
        with self._connection.transaction:
            held = self._connection.execute(sql.HOLD_WORKFLOWS, asked).fetchall()
            return self._noted(audit, sorted(one for (one,) in held))

    def release(self, workflow_ids: Sequence[str], audit: AuditRow) -> Sequence[str]:
        """Take holds back; give the ids of those that were held."""
        with self._connection.transaction:
            asked = {"workflow_ids": array(workflow_ids)}
            released = self._connection.execute(sql.RELEASE_WORKFLOWS, asked).fetchall()
            return self._noted(audit, sorted(one for (one,) in released))

    def holds(
        self, workflow_ids: Sequence[str] | None = None, *, after: str = "", limit: int = 100
    ) -> Sequence[HoldRow]:
        """Give one page of holds in order of their ids."""
        ids = None if workflow_ids is None else array(workflow_ids)
        found = self._connection.rows(sql.LIST_HOLDS, {"workflow_ids": ids, "after": after, "limit": limit})
        return [_hold(*row) for row in found]

    def audit(self, *, after: int = 0, limit: int = 100) -> Sequence[tuple[int, AuditRow]]:
        """Give one page of what was done, in order."""
        found = self._connection.rows(sql.LIST_AUDIT, {"after": after, "limit": limit})
        return [_audit(*row) for row in found]

    def take_turn(self, what: str, holder: str, *, until: int) -> bool:
        """Take a turn, or keep it."""
        asked = {"what": what, "holder": holder, "until": until, "now": self.now()}
        with self._connection.transaction:
            return self._connection.execute(sql.TAKE_TURN, asked).rowcount == 1

    def _noted(self, audit: AuditRow, workflow_ids: Sequence[str]) -> Sequence[str]:
        if workflow_ids:
            write_audit(self._connection, replace(audit, workflow_ids=workflow_ids))
        return workflow_ids


def write_audit(connection: Connection, row: AuditRow) -> None:
    """Note what was done, within the transaction that is open."""
    connection.execute(
        sql.INSERT_AUDIT,
        {
            "done_at": row.at,
            "done_by": row.by,
            "action": row.action,
            "workflow_ids": array(row.workflow_ids),
            "said": row.said,
        },
    )


def write_hold(connection: Connection, row: HoldRow) -> None:
    """Write a hold that was one elsewhere, within the transaction that is open."""
    written = {"workflow_id": row.workflow_id, "held_at": row.at, "held_by": row.by, "reason": row.reason}
    connection.execute(sql.PUT_HOLD, written)


def _hold(workflow_id: str, at: int, by: str, reason: str) -> HoldRow:
    return HoldRow(workflow_id=workflow_id, at=at, by=by, reason=reason)


def _audit(number: int, at: int, by: str, action: Any, workflow_ids: str, said: str) -> tuple[int, AuditRow]:
    ids = read_json(_ids, workflow_ids)
    return number, AuditRow(at=at, by=by, action=action, workflow_ids=ids, said=said)
