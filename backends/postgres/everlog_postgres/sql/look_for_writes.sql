-- A snapshot of now, and whether something was written between an earlier one and this. As in unread_since.
SELECT
    pg_current_snapshot()::text,
    EXISTS (
        SELECT
        FROM everlog.writes
        WHERE writes.written_in >= %(next)s::xid8
    )
    OR EXISTS (
        SELECT
        FROM everlog.writes
        WHERE writes.written_in < %(next)s::xid8 AND writes.written_in = ANY(%(running)s::xid8[])
    )
