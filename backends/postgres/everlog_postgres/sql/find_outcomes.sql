-- What became of transactions: null of one that ended so long ago that nobody knows.
SELECT given.xid, pg_xact_status(given.xid::xid8)
FROM unnest(%(transactions)s) AS given (xid)
