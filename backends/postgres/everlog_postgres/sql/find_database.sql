-- In which database a connection is, such that no other has the same answer: when its server started, too, since a copy of
-- a database has the ids of the original. And what is to be known of the transaction that is open.
SELECT
    (extract(EPOCH FROM pg_postmaster_start_time()) * 1000000)::bigint,
    (SELECT pg_database.oid::bigint FROM pg_catalog.pg_database WHERE pg_database.datname = current_database()),
    to_regclass('everlog.heads')::oid::bigint,
    current_setting('transaction_read_only') = 'on',
    CASE WHEN current_setting('transaction_read_only') = 'off' THEN pg_current_xact_id()::text END
