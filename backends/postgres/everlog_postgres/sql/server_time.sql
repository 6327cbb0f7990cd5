-- The time of the server's clock, in microseconds since 1970-01-01 UTC.
SELECT (extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint
