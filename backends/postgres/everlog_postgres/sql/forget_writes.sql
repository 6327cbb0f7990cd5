-- Forget what everybody has seen by now. The lower bound keeps off the rows that were deleted before, which may still be
-- there for the sake of an old snapshot.
DELETE FROM everlog.writes
WHERE writes.written_in >= %(from)s::xid8 AND writes.written_in < %(to)s::xid8
