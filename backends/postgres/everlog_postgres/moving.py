"""Moving: all rows of workflows, read and written as they are, and what closes a schema. It knows no other database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from everlog.errors import CorruptLog, StoreUnavailable, UsageError
from everlog.store import (
    ENDED,
    WORKER_DIED,
    CreateOutcome,
    Deduplicated,
    Done,
    EventRow,
    Exists,
    Head,
    InboxRow,
    Place,
    QueueLimits,
    QueueRow,
    StreamRow,
    ValueRow,
    WaitRow,
)
from everlog.store_moving import AttributeRow, Move, QueueRows, SharedRows, StandingRow, WorkflowRows, stored_limits
from everlog.store_schedules import ScheduleRow
from everlog_postgres import records
from everlog_postgres.arrays import bigints, encoded_texts, texts
from everlog_postgres.connection import Ask, Connection, Question, Rows
from everlog_postgres.distributed import Distributed
from everlog_postgres.moving_columns import Columns
from everlog_postgres.retention import RetentionTables, audit_of, audit_values, hold_of, hold_values
from everlog_postgres.statements import MovingStatements, Statements

CLOSED_TABLES: Final = (
    "heads",
    "events",
    "inbox",
    "message_keys",
    "workers",
    "published_values",
    "stream_rows",
    "queues",
    "queue_places",
    "queue_slots",
    "queue_starts",
    "waits",
    "schedules",
    "attributes",
    "holds",
    "audit",
    "turns",
)
"""The tables that nobody writes to while the database is closed, in the order in which they are locked."""

_KEY: Final = "signing key"
_PATIENTLY: Final = 10.0
"""Seconds for which others' transactions are waited for."""

_Result = TypeVar("_Result")
_move: Final = msgspec.json.Decoder(Move)
_Found = dict[str, list[Any]]
"""Rows of a table, by the id of the workflow."""


class MovableTables(RetentionTables):
    """A store whose rows can be moved. The store that inherits from it has the connection."""

    _connection: Connection
    _sql: Statements
    _distributed: Distributed | None

    def _wrote(self) -> None:
        raise NotImplementedError

    def _transact(self, work: Callable[[Ask], _Result]) -> _Result:
        """Do it in one transaction."""
        if self._distributed is not None:
            raise UsageError(
                f"{self._connection.name}: its tables are distributed over several servers, and what is in such tables"
                " cannot be moved, exported or verified yet (docs/moving.md)"
            )

        def noted(ask: Ask) -> tuple[list[_Result], bool]:
            return [work(ask)], False

        done = self._connection.transacts_or_is_locked(noted, patience=_PATIENTLY, note=b"")
        if done is None:
            raise StoreUnavailable(
                f"{self._connection.name}: another transaction, idle perhaps, has locked what is to be moved, and has"
                " not ended; nothing was written, end it or try again"
            )
        return done[0]

    def _transact_as_of_one_moment(self, work: Callable[[Ask], _Result]) -> _Result:
        def reading(ask: Ask) -> _Result:
            ask(Question(self._moving.read_as_of_one_moment))
            return work(ask)

        return self._transact(reading)

    @property
    def _moving(self) -> MovingStatements:
        return self._sql.moving

    def workflow_rows(
        self, *, after: tuple[int, str] | None = None, limit: int = 100, max_bytes: int = 16_000_000
    ) -> Sequence[WorkflowRows]:
        """Give all of the next workflows, in order of age and id."""
        created_at, last_id = (-1, "") if after is None else after
        asked = {"created_at": created_at, "workflow_id": last_id, "limit": limit}

        def read(ask: Ask) -> list[WorkflowRows]:
            left, ids = max_bytes, list[str]()
            for workflow_id, size in ask(Question(self._moving.rows_after, asked))[0]:
                left -= size or 0
                if ids and left < 0:
                    break
                ids.append(workflow_id)
            return self._rows(ask, ids)

        return self._transact_as_of_one_moment(read)

    def rows_of(self, workflow_ids: Sequence[str]) -> Sequence[WorkflowRows]:
        """Give all of these workflows, in order of age and id."""
        return self._transact_as_of_one_moment(lambda ask: self._rows(ask, sorted(set(workflow_ids))))

    def _rows(self, ask: Ask, workflow_ids: Sequence[str]) -> list[WorkflowRows]:
        asked = {"workflow_ids": texts(workflow_ids)}
        sql = self._moving
        heads, *rest = ask(*(Question(statement, asked) for statement in (sql.rows_of_heads, *sql.rows_of_the_rest)))
        events, inboxes, keys, values, attributes, waits, items, places = map(_by_workflow, rest)
        asked_holds = {**asked, "after": "", "limit": len(heads)}
        found = ask(Question(self._sql.retention.list_holds, asked_holds))[0]
        holds = {row[0]: hold_of(*row) for row in found}
        given: list[WorkflowRows] = []
        for row in heads:
            head = records.head(row)
            one = head.workflow_id
            given.append(
                WorkflowRows(
                    head=head,
                    size=records.size_of(row),
                    events=[EventRow(seq, type_, at, payload.encode()) for seq, type_, at, payload in events[one]],
                    inbox=[_message(one, *row) for row in inboxes[one]],
                    keys=[key for (key,) in keys[one]],
                    values=[_value(*row) for row in values[one]],
                    attributes=[AttributeRow(*row) for row in attributes[one]],
                    waits=[_wait(*row) for row in waits[one]],
                    items=[_item(*row) for row in items[one]],
                    standing=_standing(*places[one][0]) if places[one] else None,
                    hold=holds.get(one),
                )
            )
        return given

    def put_workflow_rows(self, workflows: Sequence[WorkflowRows]) -> Sequence[CreateOutcome]:
        """Write those that are not there, each with all that it has, in one transaction."""

        def write(ask: Ask) -> list[CreateOutcome]:
            is_closed = bool(ask(Question(self._moving.write_though_closed))[0][0][1])
            there = {head.workflow_id: head for head in self._heads(ask, [rows.head.workflow_id for rows in workflows])}
            outcomes: list[CreateOutcome] = []
            columns = Columns()
            for rows in workflows:
                head = there.get(rows.head.workflow_id)
                keeper = self._keeper(ask, rows, columns) if head is None else None
                if head is not None:
                    outcomes.append(Exists(head=head))
                elif keeper is not None:
                    outcomes.append(Deduplicated(head=keeper))
                else:
                    columns.add(rows, closed=rows.head.state in ENDED, keeps_order=is_closed)
                    there[rows.head.workflow_id] = rows.head
                    outcomes.append(Done())
            self._put(ask, columns)
            ask(Question(self._sql.note))
            return outcomes

        outcomes = self._transact(write)
        self._wrote()
        return outcomes

    def _put(self, ask: Ask, columns: Columns) -> None:
        for table, given in columns.parameters().items():
            ask(Question(self._moving.put[table], given))
        for hold in columns.holds:
            ask(Question(self._sql.retention.put_hold, hold_values(hold)))

    def _put_rows_within(self, ask: Ask, rows: WorkflowRows) -> None:
        columns = Columns()
        columns.add(rows, closed=rows.head.state in ENDED, keeps_order=False)
        self._put(ask, columns)

    def _heads(self, ask: Ask, workflow_ids: Sequence[str]) -> list[Head]:
        rows = ask(Question(self._sql.find_heads, {"workflow_ids": texts(workflow_ids)}))[0]
        return [records.head(row) for row in rows]

    def _keeper(self, ask: Ask, rows: WorkflowRows, planned: Columns) -> Head | None:
        """Give who has the key of its place."""
        if rows.standing is None or rows.standing.place.dedup_key is None:
            return None
        queue, dedup_key = rows.standing.place.queue, rows.standing.place.dedup_key
        if (queue, dedup_key) in planned.keepers:
            return planned.keepers[queue, dedup_key]
        asked = {"queue": queue, "dedup_key": dedup_key}
        found = ask(Question(self._sql.queues.find_place, asked))[0]
        return self._heads(ask, [found[0][0]])[0] if found else None

    def shared_rows(self) -> SharedRows:
        """Give queues, schedules and the key that signs tokens."""
        sql = self._moving

        def read(ask: Ask) -> SharedRows:
            queues, starts, schedules, key, audit = ask(
                Question(sql.rows_of_queues),
                Question(sql.rows_of_starts),
                Question(sql.rows_of_schedules),
                Question(self._sql.find_secret, {"name": _KEY}),
                Question(self._sql.retention.list_audit, {"after": 0, "limit": None}),
            )
            of_queue: dict[str, list[tuple[str, int]]] = defaultdict(list)
            for queue, partition, at in starts:
                of_queue[queue].append((partition, at))
            return SharedRows(
                queues=[_queue(*row, starts=of_queue[row[0]]) for row in queues],
                schedules=[_schedule(*row) for row in schedules],
                signing_key=key[0][0] if key else None,
                audit=[audit_of(*row) for _, *row in audit],
            )

        return self._transact_as_of_one_moment(read)

    def put_shared_rows(self, shared: SharedRows) -> None:
        """Write queues, schedules and the key, in the place of what has the same names."""
        sql = self._moving

        def write(ask: Ask) -> None:
            ask(Question(sql.write_though_closed))
            for queue in shared.queues:
                ask(Question(sql.put_queue, _queue_values(queue)))
                ask(Question(sql.drop_starts, {"queue": queue.row.name}))
                partitions, times = [one for one, _ in queue.starts], [at for _, at in queue.starts]
                given = {"queue": queue.row.name, "partitions": texts(partitions), "times": bigints(times)}
                ask(Question(sql.put_starts, given))
            if shared.schedules:
                ask(Question(sql.put_schedules, _schedule_columns(shared.schedules)))
            if shared.signing_key is not None:
                ask(Question(sql.replace_secret, {"name": _KEY, "value": shared.signing_key}))
            if shared.audit:
                ask(Question(self._sql.retention.drop_audit))
            for done in shared.audit:
                ask(Question(self._sql.retention.insert_audit, audit_values(done)))
            ask(Question(self._sql.note))

        self._transact(write)
        self._wrote()

    def stray_rows(self) -> Sequence[str]:
        """Give a sentence for each kind of row that belongs to no workflow, or contradicts its head."""
        found = self._transact(lambda ask: ask(Question(self._moving.stray_rows))[0])
        return [f"{count} {what} belong to no workflow that is there" for what, count in found if count]

    def move(self) -> Move | None:
        """Give why the database is closed; None while it is not."""
        found = self._connection.ask(Question(self._moving.find_move))[0]
        return _decoded(_move, found[0][0]) if found else None

    def close_for_move(self, move: Move) -> None:
        """Retire everybody, and refuse what is written from then on, here and in every other process."""
        sql, schema = self._moving, f'"{self._sql.schema}"'

        def close(ask: Ask) -> None:
            # One after the other, the heads first, as who commits does.
            for table in CLOSED_TABLES:
                ask(Question(f"LOCK TABLE {schema}.{table} IN EXCLUSIVE MODE".encode()))
            ask(Question(sql.write_though_closed))
            for worker in records.workers(ask(Question(self._sql.list_workers))[0]):
                ask(Question(self._sql.retire_worker, {"worker": worker.worker, "worker_died": WORKER_DIED}))
            ask(Question(sql.note_move, {"payload": msgspec.json.encode(move).decode()}))
            ask(Question(sql.refuse_writes))
            sentence = move.sentence().replace("'", "''").replace("%", "%%")
            for table in CLOSED_TABLES:
                ask(Question(f"DROP TRIGGER IF EXISTS closed ON {schema}.{table}".encode()))
                create = (
                    f"CREATE TRIGGER closed BEFORE INSERT OR UPDATE OR DELETE ON {schema}.{table}"
                    f" FOR EACH ROW EXECUTE FUNCTION {schema}.refuse_writes('{sentence}')"
                )
                ask(Question(create.encode()))

        self._define(close)

    def open_after_move(self) -> None:
        """Open the database again, for everybody."""

        def open_again(ask: Ask) -> None:
            for table in CLOSED_TABLES:
                ask(Question(f'DROP TRIGGER IF EXISTS closed ON "{self._sql.schema}".{table}'.encode()))
            ask(Question(self._moving.forget_move))
            ask(Question(self._moving.number_places))
            ask(Question(self._sql.note))

        self._define(open_again)

    def _define(self, work: Callable[[Ask], None]) -> None:
        """Do it in one transaction, in which something is dropped."""
        with self._connection.lock:
            self._transact(work)
            self._connection.drop()  # the driver has let go of all that was prepared, also of what is ours
        self._wrote()


def _by_workflow(rows: Rows) -> _Found:
    found: _Found = defaultdict(list)
    for workflow_id, *row in rows:
        found[workflow_id].append(row)
    return found


def _decoded(decoder: msgspec.json.Decoder[_Result], text: str) -> _Result:
    try:
        return decoder.decode(text)
    except msgspec.DecodeError as error:
        raise CorruptLog(f"a row of the database is not what Everlog wrote: {error}; restore a backup") from error


def _message(destination: str, row: int, source: str, number: int, topic: str, *rest: Any) -> InboxRow:
    payload, control, arrived_at = rest
    return InboxRow(
        row=row,
        destination=destination,
        source=source,
        number=number,
        topic=topic,
        payload=payload.encode(),
        control=control,
        arrived_at=arrived_at,
    )


def _value(name: str, seq: int, recorded_at: int, payload: str) -> ValueRow:
    return ValueRow(name=name, seq=seq, recorded_at=recorded_at, payload=payload.encode())


def _wait(seq: int, operation: str, topic: str, title: str, *rest: Any) -> WaitRow:
    opened_at, due_at, metadata, schema = rest
    return WaitRow(
        seq=seq,
        operation=operation,
        topic=topic,
        title=title,
        opened_at=opened_at,
        due_at=due_at,
        metadata=None if metadata is None else metadata.encode(),
        schema=None if schema is None else schema.encode(),
    )


def _item(stream: str, offset: int, count: int, kind: Any, *rest: Any) -> StreamRow:
    written_at, operation, attempt, payload = rest
    return StreamRow(
        stream=stream,
        offset=offset,
        count=count,
        kind=kind,
        written_at=written_at,
        operation=operation,
        attempt=attempt,
        payload=payload.encode(),
    )


def _standing(came: int, queue: str, name: str, partition: str, priority: int, *rest: Any) -> StandingRow:
    due_at, dedup_key, stands = rest
    place = Place(queue=queue, partition=partition, priority=priority, due_at=due_at, dedup_key=dedup_key)
    return StandingRow(place=place, name=name, came=came, stands=stands)


def _queue(
    name: str, limits: str, declared: str, paused: bool, served: str, *, starts: Sequence[tuple[str, int]]
) -> QueueRows:
    row = QueueRow(
        name=name,
        limits=stored_limits(limits) or QueueLimits(),
        declared=stored_limits(declared),
        paused=paused,
    )
    return QueueRows(row=row, served=served, starts=starts)


def _queue_values(queue: QueueRows) -> dict[str, object]:
    row = queue.row
    return {
        "name": row.name,
        "limits": msgspec.json.encode(row.limits).decode(),
        "declared": msgspec.json.encode(row.declared).decode(),
        "paused": row.paused,
        "served": queue.served,
    }


def _schedule(name: str, revision: str, workflow: str, due_at: int | None, payload: str) -> ScheduleRow:
    return ScheduleRow(name=name, revision=revision, workflow=workflow, due_at=due_at, payload=payload.encode())


def _schedule_columns(rows: Sequence[ScheduleRow]) -> dict[str, object]:
    return {
        "names": texts([row.name for row in rows]),
        "revisions": texts([row.revision for row in rows]),
        "workflows": texts([row.workflow for row in rows]),
        "due_ats": bigints([row.due_at for row in rows]),
        "payloads": encoded_texts([row.payload for row in rows]),
    }
